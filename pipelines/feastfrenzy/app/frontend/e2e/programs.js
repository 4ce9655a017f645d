// Both programs as processes of their own, on free ports, as they are delivered: the backend with a database of its own, the frontend with the built pages.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { isolated } from '../../backend/test/integration/suite.js';

export const manager = { email: 'mia@canteen.example', password: 'correct horse' };

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));

// Starts a program and waits until it says where it listens.
async function started(cwd, script, environment) {
  const child = spawn(process.execPath, [script], {
    cwd,
    env: { ...process.env, HOST: '127.0.0.1', PORT: '0', ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said = [];
  const port = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      const found = /^listening on port (\d+)$/.exec(line);
      if (found) resolve(Number(found[1]));
    });
    child.once('exit', (code) => reject(new Error(`${script} ended with ${code}: ${said.join('\n')}`)));
  });
  return {
    url: `http://127.0.0.1:${port}`,
    said,
    async end() {
      if (child.exitCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

export async function start() {
  const own = await isolated();
  const ends = [() => own.remove()];
  const end = async () => {
    for (const each of ends.reverse()) await each();
  };
  try {
    const accounts = { MANAGER_EMAIL: manager.email, MANAGER_PASSWORD: manager.password };
    const backend = await started(folder('../../backend'), 'src/main.js', { ...own.environment, ...accounts });
    ends.push(() => backend.end());
    const frontend = await started(folder('..'), 'server/main.js', { BACKEND_URL: backend.url });
    ends.push(() => frontend.end());
    return { base: frontend.url, backend, end };
  } catch (error) {
    await end();
    throw error;
  }
}
