// Hands out dist/, and passes /api/ on to the backend. Files are read once, at the start: no path of a request ever reaches the disk.

import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { extname, join } from 'node:path';
import { pipeline } from 'node:stream';

const types = { '.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8' };
const security = {
  'content-security-policy': "default-src 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

export function createServer({ folder, backend, version }) {
  const files = new Map();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(folder.length).replaceAll('\\', '/'), { bytes: readFileSync(path), type: types[extname(path)] ?? 'application/octet-stream' });
  }
  files.set('/', files.get('/index.html'));

  return http.createServer((request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    if (path.startsWith('/api/')) return pass(request, response, backend);
    if (path === '/health') return send(response, 200, 'application/json', JSON.stringify({ status: 'ok', version }));
    const file = files.get(path);
    if (!file) return send(response, 404, 'text/plain', 'not found\n');
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'GET or HEAD\n');
    const age = path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
    return send(response, 200, file.type, request.method === 'HEAD' ? '' : file.bytes, { 'cache-control': age });
  });
}

function send(response, status, type, body, headers = {}) {
  response.writeHead(status, { 'content-type': type, ...security, ...headers }).end(body);
}

function pass(request, response, backend) {
  const { method, url, headers } = request;
  const onward = http.request(new URL(backend), { method, path: url, headers: { ...headers, host: new URL(backend).host } }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    pipeline(answer, response, () => {});
  });
  onward.on('error', () => {
    if (response.headersSent) response.destroy();
    else send(response, 502, 'application/json', JSON.stringify({ error: 'the backend does not answer' }));
  });
  pipeline(request, onward, () => {});
}
