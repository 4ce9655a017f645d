// A database and a prefix of keys that are one suite's own: suites can run side by side against the same servers, and find nothing of
// an earlier run. DATABASE_URL's user must be allowed to create databases.

import { randomBytes } from 'node:crypto';

import mysql from 'mysql2/promise';
import { createClient } from 'redis';

export async function isolated() {
  const { DATABASE_URL, REDIS_URL } = process.env;
  if (!DATABASE_URL || !REDIS_URL) throw new Error('the integration tests need DATABASE_URL (mysql://...) and REDIS_URL (redis://...)');
  const name = `feastfrenzy_${randomBytes(6).toString('hex')}`;
  const url = new URL(DATABASE_URL);
  url.pathname = `/${name}`;
  const server = new URL(DATABASE_URL);
  server.pathname = '/';
  const connection = await mysql.createConnection({ uri: server.href });
  const redis = createClient({ url: REDIS_URL });
  await redis.connect();
  await connection.query(`CREATE DATABASE ${name}`);
  return {
    environment: { DATABASE_URL: url.href, REDIS_URL },
    prefix: name,
    // for looking at what the service wrote
    connection,
    redis,
    async remove() {
      await connection.query(`DROP DATABASE ${name}`);
      await connection.end();
      for await (const keys of redis.scanIterator({ MATCH: `${name}:*` })) if (keys.length > 0) await redis.del(keys);
      await redis.close();
    },
  };
}
