// Sessions and the list of products in Redis. Keys begin with a prefix, so that several services can share one.

import { randomBytes } from 'node:crypto';

import { createClient } from 'redis';

export async function connect(url, log) {
  const client = createClient({ url });
  // without a listener a lost connection would end the process; the client connects again by itself
  client.on('error', (error) => log(`redis: ${error.message}`));
  await client.connect();
  return client;
}

export class RedisSessions {
  #client;
  #prefix;
  #seconds;

  constructor(client, seconds, prefix = 'feastfrenzy') {
    this.#client = client;
    this.#seconds = seconds;
    this.#prefix = prefix;
  }

  async ready() {
    await this.#client.ping();
  }

  async close() {
    await this.#client.close();
  }

  async begin(employee) {
    const token = randomBytes(24).toString('base64url');
    await this.#client.set(`${this.#prefix}:session:${token}`, String(employee), { expiration: { type: 'EX', value: this.#seconds } });
    return token;
  }

  async employee(token) {
    const value = await this.#client.get(`${this.#prefix}:session:${token}`);
    return value === null ? undefined : Number(value);
  }

  async end(token) {
    await this.#client.del(`${this.#prefix}:session:${token}`);
  }
}

// A store whose list of products is kept for a minute, and forgotten when a product is added. All else is the store's own.
export function cached(store, client, recordLookup, prefix = 'feastfrenzy') {
  const key = `${prefix}:products`;
  const methods = {
    async products() {
      const known = await client.get(key);
      recordLookup(known !== null);
      if (known !== null) return JSON.parse(known);
      const products = await store.products();
      await client.set(key, JSON.stringify(products), { expiration: { type: 'EX', value: 60 } });
      return products;
    },
    async addProduct(product) {
      const added = await store.addProduct(product);
      await client.del(key);
      return added;
    },
  };
  return new Proxy(store, {
    get(target, name) {
      if (Object.hasOwn(methods, name)) return methods[name];
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
