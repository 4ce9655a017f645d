// A counter and a histogram in the Prometheus text format, version 0.0.4.
// Labels hold routes, never paths: who invents paths must not be able to fill the memory.

const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export class Metrics {
  #version;
  #requests = new Map();
  #durations = new Map();
  #lookups = { hit: 0, miss: 0 };

  constructor(version) {
    this.#version = version;
  }

  recordRequest(method, route, status, seconds) {
    const labels = `method="${method}",route="${route}",status="${status}"`;
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
    const series = this.#durations.get(route) ?? { below: bounds.map(() => 0), count: 0, sum: 0 };
    bounds.forEach((bound, at) => {
      if (seconds <= bound) series.below[at] += 1;
    });
    series.count += 1;
    series.sum += seconds;
    this.#durations.set(route, series);
  }

  recordLookup(hit) {
    this.#lookups[hit ? 'hit' : 'miss'] += 1;
  }

  text() {
    const lines = [
      '# HELP feastfrenzy_build_info The version that runs.',
      '# TYPE feastfrenzy_build_info gauge',
      `feastfrenzy_build_info{version="${this.#version.replaceAll(/["\\\n]/g, '_')}"} 1`,
      '# HELP http_requests_total Requests answered.',
      '# TYPE http_requests_total counter',
    ];
    for (const [labels, count] of this.#requests) lines.push(`http_requests_total{${labels}} ${count}`);
    lines.push('# HELP http_request_duration_seconds Time from a request to its answer.', '# TYPE http_request_duration_seconds histogram');
    for (const [route, { below, count, sum }] of this.#durations) {
      bounds.forEach((bound, at) => lines.push(`http_request_duration_seconds_bucket{route="${route}",le="${bound}"} ${below[at]}`));
      lines.push(
        `http_request_duration_seconds_bucket{route="${route}",le="+Inf"} ${count}`,
        `http_request_duration_seconds_sum{route="${route}"} ${sum}`,
        `http_request_duration_seconds_count{route="${route}"} ${count}`,
      );
    }
    lines.push('# HELP cache_lookups_total Lookups of the product list.', '# TYPE cache_lookups_total counter');
    for (const [result, count] of Object.entries(this.#lookups)) lines.push(`cache_lookups_total{result="${result}"} ${count}`);
    return `${lines.join('\n')}\n`;
  }
}
