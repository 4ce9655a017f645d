// What the environment says. Everything that is wrong is said at once, before anything is started.

const defaults = {
  HOST: '0.0.0.0',
  PORT: '3000',
  VERSION: '1.0.0',
  ERROR_RATE: '0',
  LATENCY_MS: '0',
  FAIL_HEALTH: 'false',
  FAIL_READY: 'false',
  DRAIN_MS: '0',
  SESSION_MINUTES: '60',
};

export class SettingsError extends Error {
  constructor(mistakes) {
    super(mistakes.join('\n'));
    this.name = 'SettingsError';
  }
}

export function settingsFrom(environment) {
  const mistakes = [];
  const text = (name) => environment[name] || defaults[name];

  function number(name, least, most) {
    const value = Number(text(name));
    if (Number.isNaN(value) || value < least || value > most) {
      mistakes.push(`${name} is ${text(name)}: it must be a number from ${least} to ${most}`);
    }
    return value;
  }

  function url(name, ...schemes) {
    const value = environment[name];
    if (!value) return undefined;
    const scheme = URL.canParse(value) ? new URL(value).protocol.slice(0, -1) : undefined;
    // the value may hold a password, so it is not repeated
    if (!schemes.includes(scheme)) mistakes.push(`${name} must be a URL that begins with ${schemes.join(':// or ')}://`);
    return value;
  }

  const settings = {
    host: text('HOST'),
    port: number('PORT', 0, 65535),
    version: text('VERSION'),
    errorRate: number('ERROR_RATE', 0, 1),
    latency: number('LATENCY_MS', 0, 60_000),
    failHealth: text('FAIL_HEALTH') === 'true',
    failReady: text('FAIL_READY') === 'true',
    crashAfter: text('CRASH_AFTER_MS') && number('CRASH_AFTER_MS', 0, 86_400_000),
    drain: number('DRAIN_MS', 0, 60_000),
    sessionSeconds: number('SESSION_MINUTES', 1, 1440) * 60,
    databaseUrl: url('DATABASE_URL', 'mysql', 'mariadb'),
    redisUrl: url('REDIS_URL', 'redis', 'rediss'),
    manager: { email: environment.MANAGER_EMAIL, password: environment.MANAGER_PASSWORD },
  };
  if (Boolean(settings.manager.email) !== Boolean(settings.manager.password)) {
    mistakes.push('MANAGER_EMAIL and MANAGER_PASSWORD are given together or not at all');
  }
  if (mistakes.length > 0) throw new SettingsError(mistakes);
  return Object.freeze(settings);
}
