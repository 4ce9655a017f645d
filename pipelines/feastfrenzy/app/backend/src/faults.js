// Errors and delays on purpose: a bad version to try a rollout with. The API alone has them, health and metrics tell the truth.

import { setTimeout as sleep } from 'node:timers/promises';

import { Problem } from './problem.js';

// An error rate of 0.25 is exactly every fourth request, so that a test can count on it.
export function faults({ errorRate, latency }) {
  let due = 0;
  return async () => {
    if (latency > 0) await sleep(latency);
    due += errorRate;
    // sums of binary fractions fall short: ten times 0.1 is not 1
    if (due < 1 - 1e-9) return;
    due -= 1;
    throw new Problem(500, 'an error on purpose: ERROR_RATE is set');
  };
}
