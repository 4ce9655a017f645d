// HTTP: finds the route, reads and writes JSON, measures. It knows no product and no employee.

import http from 'node:http';

import { Problem } from './problem.js';

const bodyLimit = 64 * 1024;

// routes: { 'GET /api/products/:id': handler }. A handler gets { parameters, query, body, token } and returns { status, body }, where
// a text is sent as it is and everything else as JSON.
export function createServer({ routes, metrics, version, log }) {
  const table = Object.entries(routes).map(([key, handler]) => {
    const [method, route] = key.split(' ');
    return { method, route, segments: route.split('/'), handler };
  });

  return http.createServer(async (request, response) => {
    const began = performance.now();
    const url = new URL(request.url, 'http://localhost');
    const found = find(table, request.method, url.pathname);
    let answer;
    try {
      if (found.problem) throw found.problem;
      const context = {
        parameters: found.parameters,
        query: url.searchParams,
        token: /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1],
        body: request.method === 'POST' ? await json(request) : undefined,
      };
      answer = await found.handler(context);
    } catch (error) {
      if (!(error instanceof Problem)) log(`${request.method} ${found.route}: ${error.stack}`);
      answer = { status: error.status ?? 500, body: { error: error instanceof Problem ? error.message : 'internal error' } };
    }
    send(response, answer, version);
    metrics.recordRequest(found.method, found.route, answer.status, (performance.now() - began) / 1000);
  });
}

function find(table, method, path) {
  const segments = path.split('/');
  const matching = table.filter(
    (entry) => entry.segments.length === segments.length && entry.segments.every((part, at) => part.startsWith(':') || part === segments[at]),
  );
  if (matching.length === 0) return { method: 'any', route: 'none', problem: new Problem(404, 'there is nothing here') };
  const entry = matching.find((candidate) => candidate.method === method);
  if (!entry) return { method: 'any', route: matching[0].route, problem: new Problem(405, `this takes ${matching.map((m) => m.method).join(', ')}`) };
  const parameters = {};
  entry.segments.forEach((part, at) => {
    if (part.startsWith(':')) parameters[part.slice(1)] = segments[at];
  });
  return { ...entry, parameters };
}

async function json(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > bodyLimit) throw new Problem(413, `a body may have ${bodyLimit} bytes`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new Problem(400, 'the body is no JSON');
  }
}

function send(response, { status, body }, version) {
  const isText = typeof body === 'string';
  const bytes = Buffer.from(isText ? body : JSON.stringify(body ?? null));
  response.writeHead(status, {
    'content-type': isText ? 'text/plain; version=0.0.4; charset=utf-8' : 'application/json',
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-version': version,
  });
  response.end(bytes);
}
