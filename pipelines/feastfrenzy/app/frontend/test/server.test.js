import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { build } from '../build.js';
import { createServer } from '../server/server.js';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

async function listening(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

suite('the built pages', () => {
  let folder;
  let built;
  let backend;
  let server;
  let base;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'feastfrenzy-'));
    built = build(root, `${folder}/dist`);
    backend = http.createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const seen = { method: request.method, url: request.url, token: request.headers.authorization, body: Buffer.concat(parts).toString() };
      response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(seen));
    });
    server = createServer({ folder: `${folder}/dist`, backend: await listening(backend), version: '7' });
    base = await listening(server);
  });
  after(() => {
    server.close();
    backend.close();
    rmSync(folder, { recursive: true });
  });

  test('the page loads what the build made, for ever', async () => {
    const page = await fetch(base);
    assert.equal(page.headers.get('cache-control'), 'no-cache');
    const [, script] = /src="([^"]+)"/.exec(await page.text());
    assert.equal(script, `/${built.folder}/main.js`);
    const asset = await fetch(base + script);
    assert.equal(asset.status, 200);
    assert.equal(asset.headers.get('content-type'), 'text/javascript; charset=utf-8');
    assert.match(asset.headers.get('cache-control'), /immutable/);
    assert.equal(await asset.text(), readFileSync(`${root}/src/main.js`, 'utf8'));
  });

  test('the same sources give the same names', () => {
    assert.deepEqual(build(root, `${folder}/again`), built);
  });

  test('nothing but the pages is handed out', async () => {
    for (const path of ['/package.json', '/%2e%2e/package.json', '/assets/', '/index.htm']) assert.equal((await fetch(base + path)).status, 404, path);
    assert.equal((await fetch(base, { method: 'POST' })).status, 405);
    assert.match((await fetch(base)).headers.get('content-security-policy'), /default-src 'self'/);
  });

  test('what is below /api/ goes to the backend, and its answer comes back', async () => {
    const answer = await fetch(`${base}/api/purchases?x=1`, { method: 'POST', headers: { authorization: 'Bearer t0' }, body: '{"items":[]}' });
    assert.equal(answer.status, 201);
    assert.deepEqual(await answer.json(), { method: 'POST', url: '/api/purchases?x=1', token: 'Bearer t0', body: '{"items":[]}' });
  });

  test('a backend that is not there is a 502 with a reason', async (t) => {
    const lonely = createServer({ folder: `${folder}/dist`, backend: 'http://127.0.0.1:1', version: '7' });
    t.after(() => lonely.close());
    const answer = await fetch(`${await listening(lonely)}/api/products`);
    assert.deepEqual([answer.status, await answer.json()], [502, { error: 'the backend does not answer' }]);
  });

  test('health has the version', async () => {
    assert.deepEqual(await (await fetch(`${base}/health`)).json(), { status: 'ok', version: '7' });
  });
});
