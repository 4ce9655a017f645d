import assert from 'node:assert/strict';
import test from 'node:test';

import { furnished, manager, serve } from '../client.js';

async function served(t, environment) {
  const service = await serve(environment);
  t.after(() => service.end());
  return service;
}

test('health, readiness and version', async (t) => {
  const service = await served(t, { VERSION: '3.1.4' });
  assert.deepEqual((await service.get('/health')).body, { status: 'ok', version: '3.1.4' });
  const ready = await service.get('/health/ready');
  assert.deepEqual([ready.status, ready.body], [200, { ready: true, database: true, cache: true }]);
  assert.equal(ready.headers.get('x-version'), '3.1.4');
});

test('unwell on purpose', async (t) => {
  const service = await served(t, { FAIL_HEALTH: 'true' });
  assert.equal((await service.get('/health')).status, 500);
});

test('never ready on purpose', async (t) => {
  const service = await served(t, { FAIL_READY: 'true' });
  assert.equal((await service.get('/health/ready')).status, 503);
  assert.equal((await service.get('/health')).status, 200);
});

test('one that is asked to end is not ready and serves on for a while', async () => {
  const service = await serve({ DRAIN_MS: '300' });
  const began = performance.now();
  const ended = service.end();
  assert.equal((await service.get('/health/ready')).status, 503);
  assert.equal((await service.get('/health')).status, 200);
  assert.equal((await service.get('/api/products')).status, 200);
  await ended;
  assert.ok(performance.now() - began >= 299);
  await assert.rejects(service.get('/health'));
});

test('an error rate hits the API and not the metrics', async (t) => {
  const service = await served(t, { ERROR_RATE: '0.5' });
  const statuses = [];
  for (let at = 0; at < 4; at += 1) statuses.push((await service.get('/api/products')).status);
  assert.deepEqual(statuses, [200, 500, 200, 500]);
  const { status, headers, body } = await service.get('/metrics');
  assert.equal(status, 200);
  assert.match(headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  assert.match(body, /^http_requests_total\{method="GET",route="\/api\/products",status="500"\} 2$/m);
});

test('products are found by a part of their name', async (t) => {
  const service = await served(t);
  const { soup } = await furnished(service);
  assert.deepEqual((await service.get('/api/products?search=sOU')).body, [soup]);
  assert.deepEqual((await service.get(`/api/products/${soup.id}`)).body, soup);
});

test('a purchase takes its price from the balance', async (t) => {
  const service = await served(t);
  const { token, soup, bread } = await furnished(service, 1000);
  const items = [{ product: soup.id, quantity: 2 }, { product: bread.id, quantity: 1 }];
  const bought = await service.post('/api/purchases', { items }, token);
  assert.equal(bought.status, 201);
  assert.equal(bought.body.total, 780);
  assert.equal((await service.get('/api/me', { token })).body.balance, 220);
  assert.deepEqual((await service.get('/api/purchases', { token })).body, [bought.body]);
});

test('a purchase that is too dear changes nothing', async (t) => {
  const service = await served(t);
  const { token, soup } = await furnished(service, 300);
  const refused = await service.post('/api/purchases', { items: [{ product: soup.id, quantity: 1 }] }, token);
  assert.deepEqual([refused.status, refused.body], [409, { error: 'the balance is too low' }]);
  assert.equal((await service.get('/api/me', { token })).body.balance, 300);
  assert.deepEqual((await service.get('/api/purchases', { token })).body, []);
});

test('only managers make products and accounts, and no answer has a password', async (t) => {
  const service = await served(t);
  const { token, boss } = await furnished(service);
  assert.equal((await service.post('/api/products', { name: 'Tea', price: 1 }, token)).status, 403);
  assert.equal((await service.get('/api/employees', { token })).status, 403);
  const employees = (await service.get('/api/employees', { token: boss })).body;
  assert.deepEqual(employees.map(({ name }) => name), ['Manager', 'Ed']);
  assert.ok(employees.every((employee) => !('password' in employee)));
  const again = { name: 'Ed', email: employees[1].email.toUpperCase(), role: 'employee', balance: 0, password: 'something else' };
  assert.equal((await service.post('/api/employees', again, boss)).status, 409);
});

test('sessions begin with the right password and end', async (t) => {
  const service = await served(t);
  assert.equal((await service.post('/api/sessions', { ...manager, password: 'wrong password' })).status, 401);
  assert.equal((await service.post('/api/sessions', { email: 'no@body.example', password: 'wrong password' })).status, 401);
  assert.equal((await service.get('/api/me')).status, 401);
  const token = await service.logIn(manager);
  assert.equal((await service.get('/api/me', { token })).body.role, 'manager');
  await service.call('DELETE', '/api/sessions', { token });
  assert.equal((await service.get('/api/me', { token })).status, 401);
});

const bad = [
  ['no JSON', 'POST', '/api/sessions', { text: '{' }, 400],
  ['a list for an object', 'POST', '/api/sessions', { text: '[]' }, 400],
  ['a field nobody knows', 'POST', '/api/sessions', { body: { ...manager, admin: true } }, 400],
  ['a missing field', 'POST', '/api/sessions', { body: { email: manager.email } }, 400],
  ['too much', 'POST', '/api/sessions', { text: 'x'.repeat(70_000) }, 413],
  ['the wrong method', 'PUT', '/api/products', {}, 405],
  ['a path nobody knows', 'GET', '/api/menus', {}, 404],
  ['a product that is none', 'GET', '/api/products/soup', {}, 404],
  ['a product that is gone', 'GET', '/api/products/99', {}, 404],
];
for (const [what, method, path, options, status] of bad) {
  test(`${what} is answered with ${status}`, async (t) => {
    const service = await served(t);
    const answer = await service.call(method, path, options);
    assert.equal(answer.status, status);
    assert.equal(typeof answer.body.error, 'string');
    assert.deepEqual(service.log, []);
  });
}

for (const items of [undefined, [], [{ product: 1, quantity: 0 }], [{ product: 1, quantity: 1.5 }], [{ product: 1, quantity: -3 }]]) {
  test(`nobody buys ${JSON.stringify(items)}`, async (t) => {
    const service = await served(t);
    const { token } = await furnished(service);
    assert.equal((await service.post('/api/purchases', { items }, token)).status, 400);
  });
}
