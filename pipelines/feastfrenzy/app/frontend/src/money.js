// Cents for people: 1234 is "€12.34". Cents go in and text comes out; nothing is ever computed with the text.

export function money(cents) {
  const sign = cents < 0 ? '-' : '';
  const whole = Math.floor(Math.abs(cents) / 100);
  return `${sign}€${whole}.${String(Math.abs(cents) % 100).padStart(2, '0')}`;
}
