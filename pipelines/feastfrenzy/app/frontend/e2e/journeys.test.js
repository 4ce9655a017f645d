// What people do with the canteen, from the page to the database and back. Each journey makes its own account, so that one that failed can be run again alone.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { keep, launch, open } from './browser.js';
import { manager, start } from './programs.js';

const captures = fileURLToPath(new URL('pages', import.meta.url));

suite('the canteen', () => {
  let programs;
  let browser;
  let boss;
  before(async () => {
    programs = await start();
    browser = await launch();
    boss = await logIn(manager);
    await call('POST', '/api/products', boss, { name: 'Tomato soup', price: 350 });
    await call('POST', '/api/products', boss, { name: 'Bread', price: 80 });
  });
  after(async () => {
    await browser?.close();
    await programs?.end();
  });

  // Past the page, for what is there before a journey and after it.
  async function call(method, path, token, body) {
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { 'content-type': 'application/json' }) };
    const answer = await fetch(`${programs.base}${path}`, { method, headers, body: body && JSON.stringify(body) });
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
    test(name, async (t) => {
      const page = await open(browser, programs.base);
      t.after(async () => {
        await keep(page, `${captures}/${name.replace(/[^a-z0-9]+/gi, '-').toLowerCase()}`);
        await page.close();
      });
      const uncaught = [];
      page.on('pageerror', (error) => uncaught.push(error.message));
      await page.goto('/');
      await page.locator('#products li').nth(1).waitFor();
      await steps(page);
      assert.deepEqual(uncaught, []);
    });
  }

  const shows = (page, words) => page.getByText(words, { exact: true }).waitFor();
  const text = (page, id) => page.locator(`#${id}`).textContent();
  // The lines of a list, without their buttons.
  const lines = (page, id) => page.locator(`#${id} li`).evaluateAll((items) => items.map((item) => item.firstChild.textContent));
  // The button that is called so to those who can't see it.
  const button = (page, name) => page.getByRole('button', { name, exact: true });

  async function send(page, { email, password }) {
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password').fill(password);
    await button(page, 'Log in').click();
  }

  async function logInOn(page, account, balance) {
    await send(page, account);
    await shows(page, `${account.name}, ${balance}`);
    assert.equal(await page.locator('#login').isVisible(), false);
  }

  journey('a guest sees what there is and cannot buy', async (page) => {
    assert.equal(await text(page, 'account'), 'not logged in');
    const products = await lines(page, 'products');
    assert.ok(products.indexOf('Bread, €0.80') >= 0 && products.indexOf('Bread, €0.80') < products.indexOf('Tomato soup, €3.50'), products.join('; '));
    await button(page, 'Add Bread').click();
    assert.equal(await text(page, 'total'), '€0.80');
    assert.equal(await button(page, 'Buy').isDisabled(), true);
  });

  journey('a search narrows the list', async (page) => {
    await page.getByLabel('Search').fill('SOUP tom');
    assert.deepEqual(await lines(page, 'products'), ['Tomato soup, €3.50']);
    await page.getByLabel('Search').fill('');
    assert.ok((await lines(page, 'products')).length >= 2);
  });

  journey('an employee pays from the balance', async (page) => {
    const account = await employee(1000);
    await logInOn(page, account, '€10.00');
    for (const name of ['Tomato soup', 'Bread', 'Tomato soup']) await button(page, `Add ${name}`).click();
    assert.deepEqual(await lines(page, 'cart'), ['2 × Tomato soup', '1 × Bread']);
    assert.equal(await text(page, 'total'), '€7.80');
    await button(page, 'Buy').click();
    await shows(page, 'Paid €7.80. Enjoy!');
    assert.equal(await text(page, 'account'), 'Ed, €2.20');
    assert.deepEqual(await lines(page, 'cart'), []);
    const { body } = await call('GET', '/api/purchases', await logIn(account));
    assert.deepEqual(body.map(({ total }) => total), [780]);
  });

  journey('what is too dear cannot be bought', async (page) => {
    await logInOn(page, await employee(300), '€3.00');
    await button(page, 'Add Tomato soup').click();
    assert.equal(await button(page, 'Buy').isDisabled(), true);
    await button(page, 'Remove one Tomato soup').click();
    await button(page, 'Add Bread').click();
    await button(page, 'Buy').click();
    await shows(page, 'Paid €0.80. Enjoy!');
  });

  journey('a balance that went meanwhile is told in words', async (page) => {
    const account = await employee(100);
    await logInOn(page, account, '€1.00');
    await button(page, 'Add Bread').click();
    const bread = (await call('GET', '/api/products')).body.find(({ name }) => name === 'Bread');
    const elsewhere = await call('POST', '/api/purchases', await logIn(account), { items: [{ product: bread.id, quantity: 1 }] });
    assert.equal(elsewhere.status, 201);
    await button(page, 'Buy').click();
    await shows(page, 'the balance is too low');
    assert.deepEqual(await lines(page, 'cart'), ['1 × Bread']);
  });

  journey('a wrong password is told in words', async (page) => {
    await send(page, { email: manager.email, password: 'wrong password' });
    await shows(page, 'no such address and password');
    assert.equal(await text(page, 'account'), 'not logged in');
    assert.equal(await page.locator('#login').isVisible(), true);
  });

  journey('a name is text and never HTML', async (page) => {
    const name = `<b>Tea</b> & "${randomBytes(4).toString('hex')}"`;
    assert.equal((await call('POST', '/api/products', boss, { name, price: 120 })).status, 201);
    await page.reload();
    await page.locator('#products li', { hasText: name }).waitFor();
    assert.ok((await lines(page, 'products')).includes(`${name}, €1.20`));
    assert.equal(await page.locator('#products b').count(), 0);
  });

  journey('every field has a label and what changes is announced', async (page) => {
    assert.equal(await page.locator('html').getAttribute('lang'), 'en');
    assert.deepEqual(await page.locator('input').evaluateAll((inputs) => inputs.map(({ labels }) => labels.length)), [1, 1, 1]);
    assert.equal(await page.locator('#account').getAttribute('aria-live'), 'polite');
    assert.equal(await page.locator('#message').getAttribute('role'), 'status');
    // a sign alone says nothing to those who can't see it
    const names = await page.locator('button').evaluateAll((buttons) => buttons.map((each) => each.ariaLabel ?? each.textContent));
    assert.ok(names.length >= 4 && names.every((name) => /\w/.test(name)), names.join('; '));
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
    const ready = await (await fetch(`${programs.backend.url}/health/ready`)).json();
    assert.deepEqual(ready, { ready: true, database: true, cache: true });
    assert.equal((await call('GET', '/api/products')).status, 200);
    const metrics = await (await fetch(`${programs.backend.url}/metrics`)).text();
    assert.match(metrics, /^http_requests_total\{method="GET",route="\/api\/products",status="200"\} \d+$/m);
    assert.deepEqual(programs.backend.said.filter((line) => !line.startsWith('listening')), []);
  });
});
