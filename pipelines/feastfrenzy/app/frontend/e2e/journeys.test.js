// What people do with the canteen, from the page to the database and back. Each journey makes its own account, so that one that failed can be run again alone.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { open } from './page.js';
import { manager, start } from './programs.js';

const captures = fileURLToPath(new URL('pages', import.meta.url));
const network = globalThis.fetch;

suite('the canteen', () => {
  let programs;
  let boss;
  before(async () => {
    programs = await start();
    boss = await logIn(manager);
    await call('POST', '/api/products', boss, { name: 'Tomato soup', price: 350 });
    await call('POST', '/api/products', boss, { name: 'Bread', price: 80 });
  });
  after(() => programs?.end());

  // Past the page, for what is there before a journey and after it.
  async function call(method, path, token, body) {
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { 'content-type': 'application/json' }) };
    const answer = await network(`${programs.base}${path}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  }

  async function logIn({ email, password }) {
    return (await call('POST', '/api/sessions', undefined, { email, password })).body.token;
  }

  async function employee(balance) {
    const account = { name: 'Ed', email: `${randomBytes(6).toString('hex')}@canteen.example`, role: 'employee', balance, password: 'battery staple' };
    assert.equal((await call('POST', '/api/employees', boss, account)).status, 201);
    return account;
  }

  // A test with the page open. How it stood at the end is kept, whatever came of it.
  function journey(name, steps) {
    test(name, async () => {
      const page = await open(programs.base);
      try {
        await page.until('the products are listed', () => page.lines('products').length >= 2);
        await steps(page);
      } finally {
        page.keep(`${captures}/${name.replace(/[^a-z0-9]+/gi, '-').toLowerCase()}.html`);
      }
    });
  }

  async function logInOn(page, { email, password, name }, balance) {
    page.send('login', { email, password });
    await page.until('somebody is logged in', () => page.text('account') === `${name}, ${balance}`);
    assert.equal(page.getElementById('login').hidden, true);
  }

  journey('a guest sees what there is and cannot buy', async (page) => {
    assert.equal(page.text('account'), 'not logged in');
    const lines = page.lines('products');
    assert.ok(lines.indexOf('Bread, €0.80') >= 0 && lines.indexOf('Bread, €0.80') < lines.indexOf('Tomato soup, €3.50'), lines.join('; '));
    page.press('Add Bread');
    assert.equal(page.text('total'), '€0.80');
    assert.throws(() => page.press('buy'), /can't be pressed/);
  });

  journey('a search narrows the list', async (page) => {
    page.type('search', 'SOUP tom');
    assert.deepEqual(page.lines('products'), ['Tomato soup, €3.50']);
    page.type('search', '');
    assert.ok(page.lines('products').length >= 2);
  });

  journey('an employee pays from the balance', async (page) => {
    const account = await employee(1000);
    await logInOn(page, account, '€10.00');
    for (const name of ['Tomato soup', 'Bread', 'Tomato soup']) page.press(`Add ${name}`);
    assert.deepEqual(page.lines('cart'), ['2 × Tomato soup', '1 × Bread']);
    assert.equal(page.text('total'), '€7.80');
    page.press('buy');
    await page.until('it is paid', () => page.text('message') === 'Paid €7.80. Enjoy!');
    assert.equal(page.text('account'), 'Ed, €2.20');
    assert.deepEqual(page.lines('cart'), []);
    const { body } = await call('GET', '/api/purchases', await logIn(account));
    assert.deepEqual(body.map(({ total }) => total), [780]);
  });

  journey('what is too dear cannot be bought', async (page) => {
    await logInOn(page, await employee(300), '€3.00');
    page.press('Add Tomato soup');
    assert.throws(() => page.press('buy'), /can't be pressed/);
    page.press('Remove one Tomato soup');
    page.press('Add Bread');
    page.press('buy');
    await page.until('it is paid', () => page.text('message') === 'Paid €0.80. Enjoy!');
  });

  journey('a balance that went meanwhile is told in words', async (page) => {
    const account = await employee(100);
    await logInOn(page, account, '€1.00');
    page.press('Add Bread');
    const bread = (await call('GET', '/api/products')).body.find(({ name }) => name === 'Bread');
    const elsewhere = await call('POST', '/api/purchases', await logIn(account), { items: [{ product: bread.id, quantity: 1 }] });
    assert.equal(elsewhere.status, 201);
    page.press('buy');
    await page.until('it is told', () => page.text('message') === 'the balance is too low');
    assert.deepEqual(page.lines('cart'), ['1 × Bread']);
  });

  journey('a wrong password is told in words', async (page) => {
    page.send('login', { email: manager.email, password: 'wrong password' });
    await page.until('it is told', () => page.text('message') === 'no such address and password');
    assert.equal(page.text('account'), 'not logged in');
    assert.equal(page.getElementById('login').hidden, false);
  });

  journey('a name is text and never HTML', async () => {
    const name = `<b>Tea</b> & "${randomBytes(4).toString('hex')}"`;
    assert.equal((await call('POST', '/api/products', boss, { name, price: 120 })).status, 201);
    const again = await open(programs.base);
    await again.until('it is listed', () => again.lines('products').includes(`${name}, €1.20`));
    assert.ok(again.html.includes('&lt;b&gt;Tea&lt;/b&gt; &amp;') && !again.html.includes('<b>Tea'));
  });

  journey('every field has a label and what changes is announced', async (page) => {
    const { html } = page;
    assert.match(html, /<html lang="en">/);
    assert.equal(html.match(/<label>[^<]+<input /g)?.length, html.match(/<input /g)?.length);
    assert.match(html, /<p id="account" aria-live="polite">/);
    assert.match(html, /<p id="message" role="status">/);
    const buttons = html.match(/<button[^>]*>[^<]*<\/button>/g);
    // a sign alone says nothing to those who can't see it
    assert.ok(buttons.every((button) => / aria-label="[^"]+"/.test(button) || />\w[^<]+</.test(button)), buttons.join('\n'));
  });

  test('only managers may do what managers do', async () => {
    const token = await logIn(await employee(0));
    assert.equal((await call('POST', '/api/products', token, { name: 'Tea', price: 1 })).status, 403);
    assert.equal((await call('GET', '/api/employees', token)).status, 403);
    assert.equal((await call('GET', '/api/employees', boss)).status, 200);
  });

  test('a session ends when it is ended', async () => {
    const token = await logIn(await employee(0));
    assert.equal((await call('GET', '/api/me', token)).status, 200);
    await call('DELETE', '/api/sessions', token);
    assert.equal((await call('GET', '/api/me', token)).status, 401);
  });

  test('what the pages and the backend say of themselves', async () => {
    const health = await call('GET', '/health');
    assert.deepEqual([health.status, health.body.status], [200, 'ok']);
    const ready = await (await network(`${programs.backend.url}/health/ready`)).json();
    assert.deepEqual(ready, { ready: true, database: true, cache: true });
    assert.equal((await call('GET', '/api/products')).status, 200);
    const metrics = await (await network(`${programs.backend.url}/metrics`)).text();
    assert.match(metrics, /^http_requests_total\{method="GET",route="\/api\/products",status="200"\} \d+$/m);
    assert.deepEqual(programs.backend.said.filter((line) => !line.startsWith('listening')), []);
  });
});
