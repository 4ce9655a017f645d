// A stage in JavaScript: each setting is one step, done in a fixed order, and all that a step sees of the world is printed.
//
// The determinism tests run it and replay it: equal bytes on standard output mean that nothing reached the guest but what was
// recorded. What is written, posted and set as output is made of the lines printed so far, so that a single different bit is also
// a different effect. The same steps, settings and lines as in ../python/guest.py. A step that fails ends the stage.

import stdout from "wasi:cli/stdout@0.2.12";
import clock from "wasi:clocks/monotonic-clock@0.2.12";
import preopens from "wasi:filesystem/preopens@0.2.12";
import random from "wasi:random/random@0.2.12";
import client from "runner:http/client@0.1.0";
import commands from "runner:commands/commands@0.1.0";
import outputs from "runner:stage/outputs@0.1.0";
import { utf8, text, crc32, hex } from "./bytes.js";

// WASI takes this much in one blocking write.
const WRITE_LIMIT = 4096;
// Larger contents are printed as size and digest only.
const SHOWN = 4096;

const printed = [];

function print(line) {
  printed.push(line);
  writeAll(stdout.getStdout(), utf8(`${line}\n`));
}

function show(name, bytes) {
  print(`${name}: ${bytes.length} bytes, crc32 ${hex(crc32(bytes))}`);
  if (bytes.length > SHOWN) return;
  const lines = text(bytes).split("\n");
  if (lines.at(-1) === "") lines.pop();
  for (const line of lines) print(`${name}| ${line}`);
}

function allPrinted() {
  return utf8(printed.map((line) => `${line}\n`).join(""));
}

function writeAll(stream, bytes) {
  for (let at = 0; at < bytes.length; at += WRITE_LIMIT) {
    stream.blockingWriteAndFlush(bytes.subarray(at, at + WRITE_LIMIT));
  }
}

function concat(chunks) {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

// The preopened directory that a path lies in, and the rest of the path.
function place(path) {
  const absolute = path.startsWith("/") ? path : `/workspace/${path}`;
  for (const [directory, mount] of preopens.getDirectories()) {
    if (absolute === mount) return [directory, "."];
    if (absolute.startsWith(`${mount}/`)) return [directory, absolute.slice(mount.length + 1)];
  }
  throw new Error(`${path}: in no directory that the stage was given`);
}

function open(path, openFlags, flags) {
  const [directory, rest] = place(path);
  return directory.openAt({ symlinkFollow: true }, rest, openFlags, flags);
}

function readFile(path) {
  const file = open(path, {}, { read: true });
  const chunks = [];
  for (let at = 0, end = false; !end; ) {
    const [chunk, last] = file.read(65536, at);
    chunks.push(Uint8Array.from(chunk));
    at += chunk.length;
    end = last;
  }
  file[Symbol.dispose]();
  return concat(chunks);
}

// The stream goes before its descriptor: it is a child of it.
function close(stream, file) {
  stream[Symbol.dispose]();
  file[Symbol.dispose]();
}

function writeFile(path, bytes) {
  const file = open(path, { create: true, truncate: true }, { write: true });
  const stream = file.writeViaStream(0);
  writeAll(stream, bytes);
  close(stream, file);
}

function appendFile(path, bytes) {
  const file = open(path, { create: true }, { write: true });
  const stream = file.appendViaStream();
  writeAll(stream, bytes);
  close(stream, file);
}

function list(path) {
  const folder = open(path, { directory: true }, { read: true });
  const entries = folder.readDirectory();
  for (let entry = entries.readDirectoryEntry(); entry; entry = entries.readDirectoryEntry()) {
    const stat = folder.statAt({}, entry.name);
    const changed = stat.dataModificationTimestamp;
    const time = changed ? `${changed.seconds}.${String(changed.nanoseconds).padStart(9, "0")}` : "no time";
    print(`list ${path}: ${entry.name}, ${entry.type}, ${stat.size} bytes, ${time}`);
  }
  close(entries, folder);
}

function send(name, method, url, body) {
  const headers = [{ name: "x-language", value: utf8("javascript") }];
  const response = client.send({ method, url, headers, body, timeout: 0, redirects: 0, maxBody: 0 });
  print(`${name}: status ${response.status()} from ${response.url()} in ${response.timing().total} ns`);
  for (const header of response.headers()) print(`${name}: ${header.name}: ${text(header.value)}`);
  const chunks = [];
  for (;;) {
    const chunk = Uint8Array.from(response.read(0));
    if (chunk.length === 0) break;
    print(`${name}: ${chunk.length} bytes came`);
    chunks.push(chunk);
  }
  show(name, concat(chunks));
}

function start([program, ...args]) {
  const command = { program, arguments: args, env: [], directory: null, stdin: [], stdout: "capture", stderr: "capture" };
  return commands.start({ ...command, timeout: 0, name: "" });
}

function showExit(name, exit) {
  print(`${name}: code ${exit.code ?? "none"}, signal ${exit.signal ?? "none"}, ${exit.duration} ns`);
  if (exit.stdout) show(`${name} stdout`, readFile(exit.stdout.path));
  if (exit.stderr) show(`${name} stderr`, readFile(exit.stderr.path));
}

// Who ends first is the world's choice, and the order in which the stage sees it is what has to be replayed.
function race(argvs) {
  let racing = argvs.map((argv, index) => ({ index, process: start(argv) }));
  while (racing.length > 0) {
    const first = racing[commands.waitAny(racing.map((one) => one.process), 0)];
    print(`race: ${first.index} ended`);
    showExit(`race ${first.index}`, first.process.wait());
    racing = racing.filter((one) => one !== first);
  }
}

function readClocks() {
  print(`clock: Date.now ${Date.now()}, performance.now ${performance.now()}, monotonic ${clock.now()}`);
}

function drawRandom(count) {
  for (let i = 0; i < count; i++) {
    print(`random: Math.random ${Math.random()}, wasi ${Array.from(random.getRandomBytes(8), hex).join("")}`);
  }
}

// In the order in which they are done.
const STEPS = {
  random: drawRandom,
  clock: readClocks,
  read: (path) => show(`read ${path}`, readFile(path)),
  write(path) {
    writeFile(path, allPrinted());
    print(`write ${path}: done`);
  },
  append(path) {
    appendFile(path, utf8(`${printed.at(-1)}\n`));
    print(`append ${path}: done`);
  },
  rename(paths) {
    const [[fromFolder, from], [toFolder, to]] = paths.map(place);
    fromFolder.renameAt(from, toFolder, to);
    print(`rename ${paths.join(" to ")}: done`);
  },
  delete(path) {
    const [folder, rest] = place(path);
    folder.unlinkFileAt(rest);
    print(`delete ${path}: done`);
  },
  list,
  get: (url) => send("get", "GET", url, []),
  post: (url) => send("post", "POST", url, allPrinted()),
  run: (argv) => showExit("run", start(argv).wait()),
  race,
  sleep(milliseconds) {
    const before = clock.now();
    clock.subscribeDuration(milliseconds * 1e6).block();
    print(`sleep: ${clock.now() - before} ns`);
  },
  outputs() {
    outputs.set("lines", String(printed.length));
    outputs.set("digest", hex(crc32(allPrinted())));
  },
};

// What a step threw, as the failure that the stage ends with. An import's own error is the payload of what is thrown.
function failure(name, error) {
  const value = error.payload ?? error;
  if (value.tag === "denied") return { tag: "denied", val: value.val };
  const said = value instanceof Error ? `${value.name}: ${value.message}` : JSON.stringify(value);
  return { tag: "errored", val: `${name}: ${said}` };
}

export function run(context) {
  print(`stage ${context.stage} of ${context.pipeline}, run ${context.run}, attempt ${context.attempt}`);
  const settings = JSON.parse(context.settings);
  for (const [name, step] of Object.entries(STEPS)) {
    try {
      if (name in settings) step(settings[name]);
    } catch (error) {
      throw failure(name, error);
    }
  }
  return { summary: `${printed.length} lines` };
}
