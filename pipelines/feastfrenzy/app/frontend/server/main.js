// The process: HOST, PORT, BACKEND_URL, VERSION and DRAIN_MS from the environment. On SIGTERM and SIGINT it serves on for DRAIN_MS, since whoever spreads requests over
// several has to hear of it, and ends when all requests are answered.

import { fileURLToPath } from 'node:url';

import { createServer } from './server.js';

const { HOST = '0.0.0.0', PORT = '8080', BACKEND_URL = 'http://localhost:3000', VERSION = '1.0.0', DRAIN_MS = '0' } = process.env;
if (!URL.canParse(BACKEND_URL)) {
  console.error('BACKEND_URL must be a URL, such as http://backend:3000');
  process.exit(2);
}
if (!(Number(DRAIN_MS) >= 0)) {
  console.error('DRAIN_MS must be a number of milliseconds');
  process.exit(2);
}
const folder = fileURLToPath(new URL('../dist', import.meta.url));
const server = createServer({ folder, backend: BACKEND_URL, version: VERSION });
server.listen(Number(PORT), HOST, () => console.error(`listening on port ${server.address().port}`));
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    setTimeout(() => {
      server.close(() => process.exit(0));
      server.closeIdleConnections();
    }, Number(DRAIN_MS));
  });
}
