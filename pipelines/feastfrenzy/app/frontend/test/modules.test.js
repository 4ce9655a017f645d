import assert from 'node:assert/strict';
import test from 'node:test';

import { Api, ApiError } from '../src/api.js';
import { add, affordable, order, remove, total } from '../src/cart.js';
import { money } from '../src/money.js';
import { visible } from '../src/products.js';

const soup = { id: 1, name: 'Tomato soup', price: 350 };
const bread = { id: 2, name: 'Bread', price: 80 };

for (const [cents, text] of [[0, '€0.00'], [5, '€0.05'], [1234, '€12.34'], [-250, '-€2.50'], [100_000, '€1000.00']]) {
  test(`${cents} cents are ${text}`, () => assert.equal(money(cents), text));
}

test('a product that is added twice is one line', () => {
  const cart = [soup, bread, soup].reduce(add, []);
  assert.deepEqual(cart.map(({ product, quantity }) => [product.name, quantity]), [['Tomato soup', 2], ['Bread', 1]]);
  assert.equal(total(cart), 780);
  assert.deepEqual(order(cart), { items: [{ product: 1, quantity: 2 }, { product: 2, quantity: 1 }] });
});

test('a line holds a hundred at most', () => {
  let cart = [];
  for (let at = 0; at < 150; at += 1) cart = add(cart, bread);
  assert.equal(cart[0].quantity, 100);
});

test('the last one that is removed takes its line away', () => {
  const cart = [soup, soup, bread].reduce(add, []);
  assert.equal(remove(cart, 1)[0].quantity, 1);
  assert.deepEqual(remove(remove(cart, 1), 1).map(({ product }) => product.id), [2]);
  assert.equal(cart[0].quantity, 2, 'the cart that was is as it was');
});

test('an empty tray and one that is too dear are not bought', () => {
  assert.equal(affordable([], 1000), false);
  assert.equal(affordable(add([], soup), 349), false);
  assert.equal(affordable(add([], soup), 350), true);
});

test('all words of a search must match, in any order and case', () => {
  assert.deepEqual(visible([soup, bread], ''), [bread, soup]);
  assert.deepEqual(visible([soup, bread], 'SOUP tom'), [soup]);
  assert.deepEqual(visible([soup, bread], 'soup bread'), []);
});

function answering(status, body) {
  const asked = [];
  const api = new Api(async (path, options) => {
    asked.push({ path, ...options });
    return new Response(body, { status });
  });
  return { api, asked };
}

test('after the login each request bears the token', async () => {
  const { api, asked } = answering(200, '{"token":"t0"}');
  await api.logIn('ed@canteen.example', 'battery staple');
  await api.buy({ items: [] });
  assert.equal(asked[0].headers.authorization, undefined);
  assert.equal(asked[1].headers.authorization, 'Bearer t0');
  assert.deepEqual([asked[1].method, asked[1].path, asked[1].body], ['POST', '/api/purchases', '{"items":[]}']);
});

test('an error has the words of the backend, or the status where there are none', async () => {
  await assert.rejects(answering(409, '{"error":"the balance is too low"}').api.me(), new ApiError(409, 'the balance is too low'));
  await assert.rejects(answering(502, '<h1>Bad gateway</h1>').api.products(), new ApiError(502, 'the server answers 502'));
});
