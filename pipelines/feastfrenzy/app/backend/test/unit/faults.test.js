import assert from 'node:assert/strict';
import test from 'node:test';

import { faults } from '../../src/faults.js';

async function failed(errorRate, times) {
  const fault = faults({ errorRate, latency: 0 });
  let count = 0;
  for (let at = 0; at < times; at += 1) await fault().catch(() => (count += 1));
  return count;
}

for (const [rate, expected] of [[0, 0], [0.05, 5], [0.1, 10], [0.25, 25], [1, 100]]) {
  test(`of 100 requests ${expected} fail at a rate of ${rate}`, async () => {
    assert.equal(await failed(rate, 100), expected);
  });
}

test('requests take longer by the latency', async () => {
  const began = performance.now();
  await faults({ errorRate: 0, latency: 40 })();
  assert.ok(performance.now() - began >= 39);
});
