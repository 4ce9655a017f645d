"""A stage in Python: each setting is one step, done in a fixed order, and all that a step sees of the world is printed.

The determinism tests run it and replay it: equal bytes on standard output mean that nothing reached the guest but what was
recorded. What is written, posted and set as output is made of the lines printed so far, so that a single different bit is also
a different effect. The same steps, settings and lines as in ../javascript/guest.js; here files, clocks and randomness are those of
CPython, which reaches WASI in its own way. A step that fails ends the stage.
"""

import json
import os
import random
import time
import uuid
import zlib

from componentize_py_types import Err
from wit_world.imports import client, commands, outputs
from wit_world.imports.runner_stage_types import Context, Failure_Denied, Failure_Errored, Outcome

# Larger contents are printed as size and digest only.
SHOWN = 4096

printed: list[str] = []


def say(line: str) -> None:
    printed.append(line)
    # a component has no exit at which Python would flush
    print(line, flush=True)


def show(name: str, data: bytes) -> None:
    say(f"{name}: {len(data)} bytes, crc32 {zlib.crc32(data):02x}")
    if len(data) <= SHOWN:
        for line in data.decode("utf-8", "replace").splitlines():
            say(f"{name}| {line}")


def all_printed() -> bytes:
    return "".join(f"{line}\n" for line in printed).encode()


def place(path: str) -> str:
    return os.path.join("/workspace", path)


def read_file(path: str) -> bytes:
    with open(place(path), "rb") as file:
        return file.read()


def draw_random(count: int) -> None:
    for _ in range(count):
        say(f"random: random {random.random()!r}, uuid4 {uuid.uuid4()}, urandom {os.urandom(8).hex()}")
    # the hash seed decides the order of a set, and whatever was drawn before decides where an object lies
    words = {"one", "two", "three", "four", "five"}
    say(f"random: set {' '.join(words)}, hash {hash('text')}, address {id(object()):#x}")


def read_clocks(_: bool) -> None:
    say(f"clock: time {time.time_ns()}, perf_counter {time.perf_counter_ns()}, monotonic {time.monotonic_ns()}")


def list_folder(path: str) -> None:
    with os.scandir(place(path)) as entries:
        for entry in entries:
            stat = entry.stat(follow_symlinks=False)
            kind = "directory" if entry.is_dir(follow_symlinks=False) else "symbolic-link" if entry.is_symlink() else "regular-file"
            seconds, nanoseconds = divmod(stat.st_mtime_ns, 1_000_000_000)
            say(f"list {path}: {entry.name}, {kind}, {stat.st_size} bytes, {seconds}.{nanoseconds:09}")


def send(name: str, method: str, url: str, body: bytes) -> None:
    headers = [client.Header("x-language", b"python")]
    with client.send(client.Request(method, url, headers, body, timeout=0, redirects=0, max_body=0)) as response:
        say(f"{name}: status {response.status()} from {response.url()} in {response.timing().total} ns")
        for header in response.headers():
            say(f"{name}: {header.name}: {header.value.decode('utf-8', 'replace')}")
        chunks = []
        while chunk := response.read(0):
            say(f"{name}: {len(chunk)} bytes came")
            chunks.append(chunk)
        show(name, b"".join(chunks))


def start(argv: list[str]) -> commands.Process:
    capture = commands.Output.CAPTURE
    return commands.start(commands.Command(argv[0], argv[1:], [], None, b"", capture, capture, timeout=0, name=""))


def show_exit(name: str, end: commands.Exit) -> None:
    code, signal = ("none" if value is None else value for value in (end.code, end.signal))
    say(f"{name}: code {code}, signal {signal}, {end.duration} ns")
    if end.stdout:
        show(f"{name} stdout", read_file(end.stdout.path))
    if end.stderr:
        show(f"{name} stderr", read_file(end.stderr.path))


def race(argvs: list[list[str]]) -> None:
    """Who ends first is the world's choice, and the order in which the stage sees it is what has to be replayed."""
    racing = [(index, start(argv)) for index, argv in enumerate(argvs)]
    while racing:
        first = commands.wait_any([process for _, process in racing], 0)
        index, process = racing.pop(first)
        say(f"race: {index} ended")
        show_exit(f"race {index}", process.wait())


def write(path: str) -> None:
    with open(place(path), "wb") as file:
        file.write(all_printed())
    say(f"write {path}: done")


def append(path: str) -> None:
    with open(place(path), "ab") as file:
        file.write(f"{printed[-1]}\n".encode())
    say(f"append {path}: done")


def rename(paths: list[str]) -> None:
    os.rename(*map(place, paths))
    say(f"rename {' to '.join(paths)}: done")


def delete(path: str) -> None:
    os.remove(place(path))
    say(f"delete {path}: done")


def sleep(milliseconds: int) -> None:
    before = time.monotonic_ns()
    time.sleep(milliseconds / 1000)
    say(f"sleep: {time.monotonic_ns() - before} ns")


def set_outputs(_: bool) -> None:
    outputs.set("lines", str(len(printed)))
    outputs.set("digest", f"{zlib.crc32(all_printed()):02x}")


# in the order in which they are done
STEPS = {
    "random": draw_random,
    "clock": read_clocks,
    "read": lambda path: show(f"read {path}", read_file(path)),
    "write": write,
    "append": append,
    "rename": rename,
    "delete": delete,
    "list": list_folder,
    "get": lambda url: send("get", "GET", url, b""),
    "post": lambda url: send("post", "POST", url, all_printed()),
    "run": lambda argv: show_exit("run", start(argv).wait()),
    "race": race,
    "sleep": sleep,
    "outputs": set_outputs,
}


def failure(name: str, error: Exception) -> Err:
    """What a step raised, as the failure that the stage ends with."""
    value = error.value if isinstance(error, Err) else error
    if isinstance(value, (client.Error_Denied, commands.Error_Denied)):
        return Err(Failure_Denied(value.value))
    return Err(Failure_Errored(f"{name}: {value!r}"))


class WitWorld:
    """What componentize-py exports: the world's functions as methods of a class of this name."""

    def run(self, context: Context) -> Outcome:
        say(f"stage {context.stage} of {context.pipeline}, run {context.run}, attempt {context.attempt}")
        settings = json.loads(context.settings)
        for name, step in STEPS.items():
            if name in settings:
                try:
                    step(settings[name])
                except Exception as error:
                    raise failure(name, error) from None
        return Outcome(f"{len(printed)} lines")
