import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { furnished, serve } from '../client.js';
import { isolated } from './suite.js';

suite('purchases in a real database', () => {
  let own;
  let service;
  before(async () => {
    own = await isolated();
    service = await serve(own.environment, { prefix: own.prefix });
  });
  after(async () => {
    await service?.end();
    await own?.remove();
  });

  test('what is bought is there after a restart', async () => {
    const { token, soup } = await furnished(service, 1000);
    const bought = await service.post('/api/purchases', { items: [{ product: soup.id, quantity: 2 }] }, token);
    assert.equal(bought.status, 201);
    await service.end();
    service = await serve(own.environment, { prefix: own.prefix });
    assert.deepEqual((await service.get('/api/purchases', { token })).body, [bought.body]);
    assert.equal((await service.get('/api/me', { token })).body.balance, 300);
  });

  test('ten purchases at once never take more than there is', async () => {
    const token = await service.logIn({ email: 'ed@canteen.example', password: 'battery staple' });
    const [, bread] = (await service.get('/api/products')).body;
    const one = () => service.post('/api/purchases', { items: [{ product: bread.id, quantity: 1 }] }, token);
    const statuses = (await Promise.all(Array.from({ length: 10 }, one))).map(({ status }) => status);
    // 300 cents are enough for three times 80
    assert.equal(statuses.filter((status) => status === 201).length, 3);
    assert.equal(statuses.filter((status) => status === 409).length, 7);
    assert.equal((await service.get('/api/me', { token })).body.balance, 60);
    const [[{ taken }]] = await own.connection.query(`SELECT SUM(total) AS taken FROM ${own.prefix}.purchases`);
    assert.equal(Number(taken), 940);
  });

  test('a quote in a name is a quote', async () => {
    const boss = await service.logIn({ email: 'mia@canteen.example', password: 'correct horse' });
    const name = "Bobby's '); DROP TABLE products; -- ☕";
    const { body } = await service.post('/api/products', { name, price: 1 }, boss);
    assert.equal((await service.get(`/api/products/${body.id}`)).body.name, name);
  });

  test('two instances that start at once make one schema and one manager', async () => {
    const other = await isolated();
    try {
      const both = await Promise.all([1, 2].map(() => serve(other.environment)));
      const [rows] = await other.connection.query(`SELECT number FROM ${other.prefix}.migrations ORDER BY number`);
      assert.deepEqual(rows.map(({ number }) => number), [0, 1, 2]);
      const [[{ managers }]] = await other.connection.query(`SELECT COUNT(*) AS managers FROM ${other.prefix}.employees`);
      assert.equal(managers, 1);
      await Promise.all(both.map((instance) => instance.end()));
    } finally {
      await other.remove();
    }
  });
});
