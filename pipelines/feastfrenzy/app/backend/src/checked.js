// Turns what a caller sent into values of known shape, or into a 400 that says which field is wrong.

import { Problem } from './problem.js';

const rules = {
  text: (value) => typeof value === 'string' && value.trim().length > 0 && value.length <= 200,
  email: (value) => typeof value === 'string' && value.length <= 200 && /^[^@\s]+@[^@\s]+$/.test(value),
  password: (value) => typeof value === 'string' && value.length >= 8 && value.length <= 200,
  cents: (value) => Number.isSafeInteger(value) && value >= 0 && value <= 10_000_00,
  quantity: (value) => Number.isSafeInteger(value) && value >= 1 && value <= 100,
  id: (value) => Number.isSafeInteger(value) && value >= 1,
  role: (value) => value === 'employee' || value === 'manager',
};

// `checked(body, { name: 'text', price: 'cents' })`: exactly these fields, and no others.
export function checked(body, shape) {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw new Problem(400, 'the body must be a JSON object');
  for (const name of Object.keys(body)) {
    if (!Object.hasOwn(shape, name)) throw new Problem(400, `there is no field ${name}: these are known: ${Object.keys(shape).join(', ')}`);
  }
  for (const [name, rule] of Object.entries(shape)) {
    if (!rules[rule](body[name])) throw new Problem(400, `${name} is missing or no ${rule}`);
  }
  return body;
}
