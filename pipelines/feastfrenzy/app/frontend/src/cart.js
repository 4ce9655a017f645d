// What is on the tray, as a value: each step makes another one. A cart is a list of { product, quantity }.

const most = 100;

export function add(cart, product) {
  const held = cart.find((line) => line.product.id === product.id);
  if (!held) return [...cart, { product, quantity: 1 }];
  return cart.map((line) => (line === held ? { product, quantity: Math.min(line.quantity + 1, most) } : line));
}

// One less; the last one takes the line away.
export function remove(cart, id) {
  return cart
    .map((line) => (line.product.id === id ? { ...line, quantity: line.quantity - 1 } : line))
    .filter(({ quantity }) => quantity > 0);
}

export function total(cart) {
  return cart.reduce((sum, { product, quantity }) => sum + product.price * quantity, 0);
}

export function affordable(cart, balance) {
  return cart.length > 0 && total(cart) <= balance;
}

// What the API takes.
export function order(cart) {
  return { items: cart.map(({ product, quantity }) => ({ product: product.id, quantity })) };
}
