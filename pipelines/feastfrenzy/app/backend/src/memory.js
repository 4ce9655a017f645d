// The store and the sessions without a database: for trying the service, and for unit tests. Gone when the process ends.

import { randomBytes } from 'node:crypto';

export class MemoryStore {
  #employees = [];
  #products = [];
  #purchases = [];

  async ready() {}

  async close() {}

  async products() {
    return structuredClone(this.#products);
  }

  async product(id) {
    return structuredClone(this.#products.find((product) => product.id === id));
  }

  async addProduct(product) {
    return add(this.#products, product);
  }

  async employees() {
    return structuredClone(this.#employees);
  }

  async employee(id) {
    return structuredClone(this.#employees.find((employee) => employee.id === id));
  }

  async employeeByEmail(email) {
    return structuredClone(this.#employees.find((employee) => employee.email === email));
  }

  // Nothing, if the address has an account.
  async addEmployee(employee) {
    if (this.#employees.some(({ email }) => email === employee.email)) return undefined;
    return add(this.#employees, employee);
  }

  async purchases(employee) {
    return structuredClone(this.#purchases.filter((purchase) => purchase.employee === employee));
  }

  // Nothing, if the balance is too low.
  async addPurchase(employee, items, total) {
    const buyer = this.#employees.find(({ id }) => id === employee);
    if (buyer.balance < total) return undefined;
    buyer.balance -= total;
    return add(this.#purchases, { employee, items, total });
  }
}

function add(list, value) {
  const added = { id: list.length + 1, ...value };
  list.push(added);
  return structuredClone(added);
}

export class MemorySessions {
  #sessions = new Map();
  #milliseconds;

  constructor(seconds) {
    this.#milliseconds = seconds * 1000;
  }

  async ready() {}

  async close() {}

  async begin(employee) {
    const token = randomBytes(24).toString('base64url');
    this.#sessions.set(token, { employee, until: Date.now() + this.#milliseconds });
    return token;
  }

  async employee(token) {
    const session = this.#sessions.get(token);
    if (session && session.until > Date.now()) return session.employee;
    this.#sessions.delete(token);
    return undefined;
  }

  async end(token) {
    this.#sessions.delete(token);
  }
}
