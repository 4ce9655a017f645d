// What the canteen does: who may do what, and what becomes of money. It knows stores and sessions by what they do, not by what they are.
// Money is in cents: fractions of a cent do not exist, and sums of binary fractions do not come out even.

import { checked } from './checked.js';
import { hashed, matches } from './password.js';
import { Problem } from './problem.js';

// Compared with when nobody has the address, so that the time of an answer does not tell who works here.
const nobody = `${'0'.repeat(32)}:${'0'.repeat(64)}`;

export class Canteen {
  #store;
  #sessions;

  constructor(store, sessions) {
    this.#store = store;
    this.#sessions = sessions;
  }

  // The first manager, who makes all other accounts. Another start changes nothing.
  async open({ email, password }) {
    if (!email) return;
    await this.#store.addEmployee({ name: 'Manager', email: email.toLowerCase(), role: 'manager', balance: 0, password: await hashed(password) });
  }

  async logIn(body) {
    const { email, password } = checked(body, { email: 'email', password: 'password' });
    const employee = await this.#store.employeeByEmail(email.toLowerCase());
    const right = await matches(password, employee?.password ?? nobody);
    if (!employee || !right) throw new Problem(401, 'no such address and password');
    return { token: await this.#sessions.begin(employee.id) };
  }

  async logOut(token) {
    await this.#sessions.end(token);
  }

  async whoIs(token) {
    const id = token && (await this.#sessions.employee(token));
    const employee = id && (await this.#store.employee(id));
    if (!employee) throw new Problem(401, 'log in first: POST /api/sessions');
    return employee;
  }

  async products(search) {
    const wanted = (search ?? '').toLowerCase();
    return (await this.#store.products()).filter((product) => product.name.toLowerCase().includes(wanted));
  }

  async product(id) {
    const product = await this.#store.product(identifier(id));
    if (!product) throw new Problem(404, 'no such product');
    return product;
  }

  async addProduct(token, body) {
    await this.#manager(token);
    return this.#store.addProduct(checked(body, { name: 'text', price: 'cents' }));
  }

  async employees(token) {
    await this.#manager(token);
    return (await this.#store.employees()).map(shown);
  }

  async addEmployee(token, body) {
    await this.#manager(token);
    const wanted = checked(body, { name: 'text', email: 'email', role: 'role', balance: 'cents', password: 'password' });
    const account = { ...wanted, email: wanted.email.toLowerCase(), password: await hashed(wanted.password) };
    const added = await this.#store.addEmployee(account);
    if (!added) throw new Problem(409, 'this address has an account');
    return shown(added);
  }

  async me(token) {
    return shown(await this.whoIs(token));
  }

  async purchases(token) {
    return this.#store.purchases((await this.whoIs(token)).id);
  }

  async buy(token, body) {
    const buyer = await this.whoIs(token);
    if (!Array.isArray(body?.items) || body.items.length === 0 || body.items.length > 50) throw new Problem(400, 'items must be a list of 1 to 50');
    const items = [];
    for (const item of body.items) {
      const { product: id, quantity } = checked(item, { product: 'id', quantity: 'quantity' });
      const product = await this.product(id);
      items.push({ product: id, name: product.name, price: product.price, quantity });
    }
    const total = items.reduce((sum, { price, quantity }) => sum + price * quantity, 0);
    // the store takes the money and records the purchase in one step, or does neither
    const purchase = await this.#store.addPurchase(buyer.id, items, total);
    if (!purchase) throw new Problem(409, 'the balance is too low');
    return purchase;
  }

  async #manager(token) {
    const employee = await this.whoIs(token);
    if (employee.role !== 'manager') throw new Problem(403, 'only managers may do this');
  }
}

function identifier(text) {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id < 1) throw new Problem(404, 'no such product');
  return id;
}

function shown({ id, name, email, role, balance }) {
  return { id, name, email, role, balance };
}
