// The process: settings from the environment, signals, exit codes.

import { start } from './service.js';
import { SettingsError, settingsFrom } from './settings.js';

try {
  const settings = settingsFrom(process.env);
  const service = await start(settings);
  console.error(`listening on port ${service.port}`);
  if (settings.crashAfter !== undefined) {
    setTimeout(() => {
      console.error('a crash on purpose: CRASH_AFTER_MS is set');
      process.exit(1);
    }, settings.crashAfter);
  }
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, async () => {
      await service.end();
      process.exit(0);
    });
  }
} catch (error) {
  console.error(error instanceof SettingsError ? error.message : error);
  process.exit(error instanceof SettingsError ? 2 : 1);
}
