// A started service and its client: tests talk HTTP, as users do.

import { start } from '../src/service.js';
import { settingsFrom } from '../src/settings.js';

export const manager = { email: 'mia@canteen.example', password: 'correct horse' };

export async function serve(environment = {}, options = {}) {
  const log = [];
  const settings = settingsFrom({
    HOST: '127.0.0.1',
    PORT: '0',
    MANAGER_EMAIL: manager.email,
    MANAGER_PASSWORD: manager.password,
    ...environment,
  });
  const service = await start(settings, { log: (line) => log.push(line), ...options });

  async function call(method, path, { token, body, text } = {}) {
    const answer = await fetch(`http://127.0.0.1:${service.port}${path}`, {
      method,
      headers: token ? { authorization: `Bearer ${token}` } : {},
      body: text ?? (body && JSON.stringify(body)),
    });
    const content = await answer.text();
    const isJson = answer.headers.get('content-type') === 'application/json';
    return { status: answer.status, headers: answer.headers, body: isJson ? JSON.parse(content) : content };
  }

  return {
    log,
    end: () => service.end(),
    get: (path, options) => call('GET', path, options),
    post: (path, body, token) => call('POST', path, { body, token }),
    call,
    async logIn({ email, password }) {
      return (await call('POST', '/api/sessions', { body: { email, password } })).body.token;
    },
  };
}

// A manager's token, an employee with this balance and their token, and two products.
export async function furnished(service, balance = 1000) {
  const boss = await service.logIn(manager);
  const account = { name: 'Ed', email: 'ed@canteen.example', role: 'employee', balance, password: 'battery staple' };
  const employee = (await service.post('/api/employees', account, boss)).body;
  const soup = (await service.post('/api/products', { name: 'Soup', price: 350 }, boss)).body;
  const bread = (await service.post('/api/products', { name: 'Bread', price: 80 }, boss)).body;
  return { boss, employee, token: await service.logIn(account), soup, bread };
}
