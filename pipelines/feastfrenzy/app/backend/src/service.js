// Puts the parts together, starts them in order, and ends them in the opposite one.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { Canteen } from './canteen.js';
import { Database } from './database.js';
import { faults } from './faults.js';
import { MemorySessions, MemoryStore } from './memory.js';
import { Metrics } from './metrics.js';
import { cached, connect, RedisSessions } from './redis.js';
import { routes } from './routes.js';
import { createServer } from './server.js';

export async function start(settings, { log = console.error, prefix } = {}) {
  const metrics = new Metrics(settings.version);
  const closing = [];
  let ending = false;
  try {
    let store = new MemoryStore();
    if (settings.databaseUrl) {
      store = new Database(settings.databaseUrl);
      const database = store;
      closing.push(() => database.close());
      await store.migrate();
    }
    let sessions = new MemorySessions(settings.sessionSeconds);
    if (settings.redisUrl) {
      const client = await connect(settings.redisUrl, log);
      sessions = new RedisSessions(client, settings.sessionSeconds, prefix);
      store = cached(store, client, (hit) => metrics.recordLookup(hit), prefix);
      closing.push(() => sessions.close());
    }
    const canteen = new Canteen(store, sessions);
    await canteen.open(settings.manager);

    const readiness = async () => {
      const [database, cache] = await Promise.all([store, sessions].map((part) => part.ready().then(() => true, () => false)));
      return { ready: database && cache && !ending && !settings.failReady, database, cache };
    };
    const server = createServer({
      routes: routes({ canteen, metrics, faults: faults(settings), settings, readiness }),
      metrics,
      version: settings.version,
      log,
    });
    server.listen(settings.port, settings.host);
    await once(server, 'listening');

    return {
      port: server.address().port,
      // Is not ready any more, and serves on for a while: whoever spreads requests over several has to hear of it. Then it takes no new connections, answers what
      // has begun, and lets go of the database and the cache.
      async end() {
        ending = true;
        if (settings.drain > 0) await sleep(settings.drain);
        server.close();
        server.closeIdleConnections();
        await once(server, 'close');
        for (const close of closing.reverse()) await close();
      },
    };
  } catch (error) {
    for (const close of closing.reverse()) await close().catch(() => {});
    throw error;
  }
}
