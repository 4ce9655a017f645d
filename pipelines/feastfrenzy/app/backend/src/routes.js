// Which request leads to what.

import { Problem } from './problem.js';

export function routes({ canteen, metrics, faults, settings, readiness }) {
  const api = {
    'POST /api/sessions': async ({ body }) => created(await canteen.logIn(body)),
    'DELETE /api/sessions': async ({ token }) => ok(await canteen.logOut(token)),
    'GET /api/me': async ({ token }) => ok(await canteen.me(token)),
    'GET /api/products': async ({ query }) => ok(await canteen.products(query.get('search'))),
    'GET /api/products/:id': async ({ parameters }) => ok(await canteen.product(parameters.id)),
    'POST /api/products': async ({ token, body }) => created(await canteen.addProduct(token, body)),
    'GET /api/employees': async ({ token }) => ok(await canteen.employees(token)),
    'POST /api/employees': async ({ token, body }) => created(await canteen.addEmployee(token, body)),
    'GET /api/purchases': async ({ token }) => ok(await canteen.purchases(token)),
    'POST /api/purchases': async ({ token, body }) => created(await canteen.buy(token, body)),
  };
  const table = {};
  for (const [route, handler] of Object.entries(api)) {
    table[route] = async (context) => {
      await faults();
      return handler(context);
    };
  }
  return {
    ...table,
    'GET /health': async () => {
      if (settings.failHealth) throw new Problem(500, 'unwell on purpose: FAIL_HEALTH is set');
      return ok({ status: 'ok', version: settings.version });
    },
    'GET /health/ready': async () => {
      const state = await readiness();
      return { status: state.ready ? 200 : 503, body: state };
    },
    'GET /metrics': async () => ok(metrics.text()),
  };
}

const ok = (body) => ({ status: 200, body });
const created = (body) => ({ status: 201, body });
