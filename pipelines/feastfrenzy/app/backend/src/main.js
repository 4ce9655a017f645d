// The process: settings from the environment, signals, exit codes.

import { start } from './service.js';
import { SettingsError, settingsFrom } from './settings.js';

try {
  const service = await start(settingsFrom(process.env));
  console.error(`listening on port ${service.port}`);
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
