import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { furnished, manager, serve } from '../client.js';
import { isolated } from './suite.js';

suite('sessions and products in a real Redis', () => {
  let own;
  let service;
  before(async () => {
    own = await isolated();
    service = await serve(own.environment, { prefix: own.prefix });
    await furnished(service);
  });
  after(async () => {
    await service?.end();
    await own?.remove();
  });

  test('a session is Redis\'s, and ends by itself', async () => {
    const token = await service.logIn(manager);
    const left = await own.redis.ttl(`${own.prefix}:session:${token}`);
    assert.ok(left > 3500 && left <= 3600, `${left} seconds`);
    await own.redis.del(`${own.prefix}:session:${token}`);
    assert.equal((await service.get('/api/me', { token })).status, 401);
  });

  test('the list of products is kept, and forgotten when one is added', async () => {
    const names = async () => (await service.get('/api/products')).body.map(({ name }) => name);
    assert.deepEqual(await names(), ['Soup', 'Bread']);
    assert.deepEqual(await names(), ['Soup', 'Bread']);
    assert.match((await service.get('/metrics')).body, /^cache_lookups_total\{result="hit"\} 1$/m);
    await service.post('/api/products', { name: 'Tea', price: 120 }, await service.logIn(manager));
    assert.deepEqual(await names(), ['Soup', 'Bread', 'Tea']);
  });

  test('ready says which part is there', async () => {
    assert.deepEqual((await service.get('/health/ready')).body, { ready: true, database: true, cache: true });
  });
});
