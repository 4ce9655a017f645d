// Makes dist/: the pages, and what they load in a folder whose name is the digest of its content. A file in there never changes, so
// browsers may keep it for ever. The same sources always give the same bytes.

import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function build(root, out) {
  const assets = { 'style.css': readFileSync(`${root}/public/style.css`) };
  for (const name of readdirSync(`${root}/src`).sort()) assets[name] = readFileSync(`${root}/src/${name}`);
  const hash = createHash('sha256');
  for (const [name, bytes] of Object.entries(assets)) hash.update(`${name}\n${bytes.length}\n`).update(bytes);
  const folder = `assets/${hash.digest('hex').slice(0, 16)}`;

  rmSync(out, { recursive: true, force: true });
  cpSync(`${root}/public`, out, { recursive: true });
  rmSync(`${out}/style.css`);
  mkdirSync(`${out}/${folder}`, { recursive: true });
  for (const [name, bytes] of Object.entries(assets)) writeFileSync(`${out}/${folder}/${name}`, bytes);
  const page = readFileSync(`${root}/public/index.html`, 'utf8').replaceAll('/assets/', `/${folder}/`);
  writeFileSync(`${out}/index.html`, page);
  return { folder, files: Object.keys(assets) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('.', import.meta.url));
  const { folder, files } = build(root, `${root}/dist`);
  console.log(`dist/index.html, dist/${folder}: ${files.join(', ')}`);
}
