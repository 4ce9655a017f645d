import assert from 'node:assert/strict';
import test from 'node:test';

import { Metrics } from '../../src/metrics.js';

test('requests are counted by method, route and status', () => {
  const metrics = new Metrics('1.2.3');
  metrics.recordRequest('GET', '/api/products', 200, 0.02);
  metrics.recordRequest('GET', '/api/products', 200, 0.3);
  metrics.recordRequest('GET', '/api/products', 500, 9);
  const lines = metrics.text().split('\n');
  assert.ok(lines.includes('http_requests_total{method="GET",route="/api/products",status="200"} 2'));
  assert.ok(lines.includes('http_requests_total{method="GET",route="/api/products",status="500"} 1'));
  assert.ok(lines.includes('feastfrenzy_build_info{version="1.2.3"} 1'));
});

test('the buckets of the histogram are cumulative', () => {
  const metrics = new Metrics('1');
  for (const seconds of [0.02, 0.3, 9]) metrics.recordRequest('GET', '/health', 200, seconds);
  const value = (le) => new RegExp(`_bucket\\{route="/health",le="${le}"\\} (\\d+)`).exec(metrics.text())[1];
  assert.deepEqual(['0.01', '0.025', '0.5', '5', '\\+Inf'].map(value), ['0', '1', '2', '2', '3']);
  assert.match(metrics.text(), /^http_request_duration_seconds_count\{route="\/health"\} 3$/m);
});

test('a version can not break the text', () => {
  assert.match(new Metrics('1"} 1\nevil 1').text(), /^feastfrenzy_build_info\{version="1_} 1_evil 1"\} 1$/m);
});
