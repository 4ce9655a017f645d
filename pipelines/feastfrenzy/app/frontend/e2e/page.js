// A page without a browser: as much of a document as src/main.js knows, made of the HTML that the server hands out, with the very modules that it hands out running on it.
// Nothing is drawn, so that a capture is the page's HTML as it stands, and no picture. One page is open at a time: modules know one global document.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const network = globalThis.fetch;
const patience = 5000;

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

class Element {
  #listeners = {};
  // Texts and elements; nothing until something was put into it.
  children;
  hidden;
  disabled;
  value = '';
  ariaLabel = '';
  // Of a form: what somebody has filled in.
  fields = {};

  constructor(tag, attributes = '') {
    this.tag = tag;
    this.hidden = /\bhidden\b/.test(attributes);
    this.disabled = /\bdisabled\b/.test(attributes);
  }

  get textContent() {
    return (this.children ?? []).map((child) => (typeof child === 'string' ? child : child.textContent)).join('');
  }

  set textContent(text) {
    this.children = [String(text)];
  }

  append(...nodes) {
    this.children = [...(this.children ?? []), ...nodes];
  }

  replaceChildren(...nodes) {
    this.children = nodes;
  }

  addEventListener(type, listener) {
    (this.#listeners[type] ??= []).push(listener);
  }

  happens(type) {
    const listeners = this.#listeners[type] ?? [];
    if (listeners.length === 0) throw new Error(`nobody listens to ${type} of <${this.tag}>`);
    for (const listener of listeners) listener({ target: this, preventDefault() {} });
  }

  get inside() {
    return (this.children ?? []).map((child) => (typeof child === 'string' ? escaped(child) : child.html)).join('');
  }

  get html() {
    const label = this.ariaLabel ? ` aria-label="${escaped(this.ariaLabel)}"` : '';
    return `<${this.tag}${label}>${this.inside}</${this.tag}>`;
  }
}

export class Page {
  #served;
  #style;
  #elements;

  constructor(served, style) {
    this.#served = served;
    this.#style = style;
    const found = served.matchAll(/<(\w+)([^>]*\bid="([^"]+)"[^>]*)>/g);
    this.#elements = new Map(Array.from(found, ([, tag, attributes, id]) => [id, new Element(tag, attributes)]));
  }

  // null, as in a browser, for what the HTML does not have.
  getElementById(id) {
    return this.#elements.get(id) ?? null;
  }

  createElement(tag) {
    return new Element(tag);
  }

  text(id) {
    return this.getElementById(id).textContent;
  }

  // The lines of a list.
  lines(id) {
    return (this.getElementById(id).children ?? []).map((line) => line.children.find((child) => typeof child === 'string'));
  }

  type(id, text) {
    const input = this.getElementById(id);
    input.value = text;
    input.happens('input');
  }

  // Fills in a form and sends it. Only fields that the page has can be filled in.
  send(id, fields) {
    for (const name of Object.keys(fields)) {
      if (!this.#served.includes(` name="${name}"`)) throw new Error(`the page has no field ${name}`);
    }
    const form = this.getElementById(id);
    form.fields = fields;
    form.happens('submit');
  }

  // Presses the button that is called so to those who can't see it; or the one with this id.
  press(name) {
    const inLists = ['products', 'cart'].flatMap((id) => this.getElementById(id).children ?? []).flatMap((line) => line.children);
    const button = inLists.find((child) => child.ariaLabel === name) ?? this.getElementById(name);
    if (!button) throw new Error(`there is no button ${name}`);
    if (button.disabled) throw new Error(`${name} can't be pressed`);
    button.happens('click');
  }

  async until(what, holds) {
    const began = performance.now();
    while (!holds()) {
      if (performance.now() - began > patience) throw new Error(`not so after ${patience / 1000} s: ${what}. The page says: ${this.text('message') || 'nothing'}`);
      await sleep(10);
    }
  }

  // The page as it stands, for people to look at: with its style in it, and without its script.
  get html() {
    let html = this.#served
      .replace(/<link rel="stylesheet"[^>]*>/, () => `<style>${this.#style}</style>`)
      .replace(/\s*<script[^>]*><\/script>/, '');
    for (const [id, element] of this.#elements) {
      const opening = new RegExp(`<${element.tag}[^>]*\\bid="${id}"[^>]*>`);
      if (element.children !== undefined) {
        const whole = new RegExp(`(${opening.source})[^]*?(</${element.tag}>)`);
        html = html.replace(whole, (_, begin, end) => begin + element.inside + end);
      }
      html = html.replace(opening, (tag) => {
        const bare = tag.slice(0, -1).replace(/ (?:hidden|disabled)\b/g, '');
        return `${bare}${element.hidden ? ' hidden' : ''}${element.disabled ? ' disabled' : ''}>`;
      });
    }
    return html;
  }

  keep(path) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.html);
  }
}

// Opens the page that a server has at its root: its script begins, as it would in a browser.
export async function open(base) {
  const asset = async (path) => {
    const answer = await network(new URL(path, base));
    if (!answer.ok) throw new Error(`${path} is answered with ${answer.status}`);
    return answer.text();
  };
  const served = await asset('/');
  const [, style] = /<link rel="stylesheet" href="([^"]+)">/.exec(served);
  const [, script] = /<script type="module" src="([^"]+)">/.exec(served);
  const page = new Page(served, await asset(style));

  // modules over HTTP are not Node's: they are taken as they are served, with what they import
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  const wanted = [script];
  for (const path of wanted) {
    const text = await asset(path);
    writeFileSync(join(folder, path.split('/').at(-1)), text);
    for (const [, name] of text.matchAll(/^import .* from '\.\/([\w-]+\.js)';$/gm)) {
      const imported = `${dirname(path)}/${name}`;
      if (!wanted.includes(imported)) wanted.push(imported);
    }
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  globalThis.document = page;
  globalThis.fetch = (path, options) => network(new URL(path, base), options);
  globalThis.FormData = class {
    #fields;

    constructor(form) {
      this.#fields = form.fields;
    }

    get(name) {
      return this.#fields[name];
    }
  };
  await import(pathToFileURL(join(folder, script.split('/').at(-1))));
  rmSync(folder, { recursive: true });
  return page;
}
