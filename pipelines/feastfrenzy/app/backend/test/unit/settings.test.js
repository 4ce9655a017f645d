import assert from 'node:assert/strict';
import test from 'node:test';

import { SettingsError, settingsFrom } from '../../src/settings.js';

test('an empty environment has defaults', () => {
  const settings = settingsFrom({});
  assert.equal(settings.port, 3000);
  assert.equal(settings.errorRate, 0);
  assert.equal(settings.databaseUrl, undefined);
  assert.deepEqual([settings.failReady, settings.crashAfter, settings.drain], [false, undefined, 0]);
});

test('what is set is read', () => {
  const settings = settingsFrom({ PORT: '8080', VERSION: '2.1.0', LATENCY_MS: '1500', ERROR_RATE: '0.05', FAIL_HEALTH: 'true' });
  const ending = settingsFrom({ FAIL_READY: 'true', CRASH_AFTER_MS: '4000', DRAIN_MS: '3000' });
  assert.deepEqual([ending.failReady, ending.crashAfter, ending.drain], [true, 4000, 3000]);
  assert.deepEqual([settings.port, settings.version, settings.latency, settings.errorRate, settings.failHealth], [8080, '2.1.0', 1500, 0.05, true]);
});

test('all mistakes are told at once, and no password', () => {
  const environment = { PORT: 'web', ERROR_RATE: '5', DRAIN_MS: 'long', CRASH_AFTER_MS: '-1', DATABASE_URL: 'postgres://root:hidden@db/app', MANAGER_EMAIL: 'mia@canteen.example' };
  assert.throws(
    () => settingsFrom(environment),
    (error) => {
      assert.ok(error instanceof SettingsError);
      for (const name of ['PORT', 'ERROR_RATE', 'DRAIN_MS', 'CRASH_AFTER_MS', 'DATABASE_URL', 'MANAGER_PASSWORD']) assert.match(error.message, new RegExp(name));
      assert.doesNotMatch(error.message, /hidden/);
      return true;
    },
  );
});
