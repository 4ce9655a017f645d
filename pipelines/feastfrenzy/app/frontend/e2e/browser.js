// The browser that the journeys run in: the one at $CHROMIUM, or else the one that Playwright has downloaded for itself.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { chromium } from 'playwright-core';

const patience = 15_000;

// Without Chromium's own sandbox: it is made of user namespaces, which a hardened container does not have. There the container is the sandbox, and
// nothing but our own pages is opened.
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || undefined, chromiumSandbox: false });
}

// A page with a storage of its own.
export async function open(browser, base) {
  const page = await browser.newPage({ baseURL: base, colorScheme: 'light', locale: 'en-GB' });
  page.setDefaultTimeout(patience);
  return page;
}

// The whole page as it stands: how it looks in PATH.png, and its HTML in PATH.html.
export async function keep(page, path) {
  mkdirSync(dirname(path), { recursive: true });
  await page.screenshot({ path: `${path}.png`, fullPage: true });
  writeFileSync(`${path}.html`, await page.content());
}
