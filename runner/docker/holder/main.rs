//! The first process of a pod: holds the network namespace that the pod's containers share, and is the only way in and out of it.
//!
//! `holder FOLDER [out]`. The folder is shared with the runner, and with no other container. Two things happen over it:
//!
//! - With `out`, it listens on the namespace's `127.0.0.1:3128` and passes each connection on to the socket `FOLDER/out`, where the runner's proxy is.
//! - It listens on the socket `FOLDER/in`. Who connects says a port in two bytes, most significant first, and gets one byte back: 0, or the
//!   number of the error. After a 0 it is talking to that port of the namespace's loopback.
//!
//! One thread, a fixed number of connections with fixed buffers, no allocation. Each direction ends by itself: what one side finishes is finished
//! at the other when all of it has been passed on.
//!
//! It is a program of its own without a C library, so that the image needs one file and the build no further target.
//!
//! Deliberately absent: any decision. Who may be reached is the proxy's matter, on the other side of `FOLDER/out`.

#![no_std]
#![no_main]
#![no_builtins]

mod mem;
mod sys;

use sys::{Address, Event};

/// Connections at once, and how many of them may be of one kind, so that the others still get through.
const SLOTS: usize = 512;
const OF_A_KIND: usize = 448;
const BUFFER: usize = 8 << 10;
/// How often a busy connection is looked after before the others get their turn.
const ROUNDS: usize = 32;
const PROXY_PORT: u16 = 3128;

const ALL: u32 = sys::IN | sys::OUT | sys::EDGE;
/// Of the two listeners and of the descriptor for signals; connections have others.
const LISTENER: [u64; 2] = [u64::MAX, u64::MAX - 1];
const END: u64 = u64::MAX - 2;

/// Which way a connection was opened.
const OUTWARD: usize = 0;
const INWARD: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Free = 0,
    /// Outward: the proxy's queue is full.
    Queueing,
    /// Inward: the port is not known yet.
    Asking,
    Connecting,
    Open,
}

/// What goes in one direction.
#[derive(Clone, Copy)]
struct Flow {
    buffer: [u8; BUFFER],
    start: usize,
    end: usize,
    /// The source has nothing more.
    ended: bool,
    /// The target has been told, or is gone.
    finished: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    stage: Stage,
    kind: usize,
    /// Raised at each use, so that news of the last connection here is not taken for one of this.
    turn: u32,
    /// Who came, and who they are connected with.
    sides: [i32; 2],
    /// From the one to the other, and back.
    flows: [Flow; 2],
    port: [u8; 2],
    port_known: usize,
    second_try: bool,
}

struct Holder {
    epoll: i32,
    listeners: [i32; 2],
    paused: [bool; 2],
    used: [usize; 2],
    queueing: usize,
    proxy: Address,
    slots: &'static mut [Slot; SLOTS],
}

const EMPTY: Flow = Flow { buffer: [0; BUFFER], start: 0, end: 0, ended: false, finished: false };
const NOTHING: Slot =
    Slot { stage: Stage::Free, kind: 0, turn: 0, sides: [0; 2], flows: [EMPTY; 2], port: [0; 2], port_known: 0, second_try: false };
static mut ROOM: [Slot; SLOTS] = [NOTHING; SLOTS];

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail(b"a bug", 0)
}

fn fail(what: &[u8], error: isize) -> ! {
    let number = error.unsigned_abs();
    let digits = [b'0' + (number / 100 % 10) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8, b'\n'];
    for words in [b"holder: ".as_slice(), what, b": error ", &digits] {
        sys::say(words);
    }
    sys::exit(1)
}

fn must(what: &[u8], answer: isize) -> i32 {
    if answer < 0 {
        fail(what, answer)
    }
    answer as i32
}

/// # Safety
/// Called once by `_start`, with where the kernel put the arguments.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the number of arguments comes first, then a pointer to each, a text that ends with a zero
    let argument = |at: usize| unsafe {
        if at >= *stack {
            return None;
        }
        let text = *stack.add(1 + at) as *const u8;
        let mut length = 0;
        while *text.add(length) != 0 {
            length += 1;
        }
        Some(core::slice::from_raw_parts(text, length))
    };
    let Some(folder) = argument(1) else { fail(b"holder FOLDER [out]", 0) };
    let out = argument(2).is_some_and(|word| word == b"out");
    let (Some(way_in), Some(proxy)) = (Address::unix(folder, b"/in"), Address::unix(folder, b"/out")) else {
        fail(b"the folder's path is too long", 0)
    };
    let epoll = must(b"epoll", sys::epoll());
    let end = must(b"signals", sys::end_asked());
    must(b"signals", sys::watch(epoll, end, sys::IN, END));

    let mut listeners = [-1; 2];
    if out {
        listeners[OUTWARD] = must(b"socket", sys::socket(sys::INET));
        sys::tame(listeners[OUTWARD]);
        must(b"127.0.0.1:3128", sys::bind(listeners[OUTWARD], &Address::loopback(PROXY_PORT)));
        must(b"127.0.0.1:3128", sys::listen(listeners[OUTWARD]));
        must(b"watching", sys::watch(epoll, listeners[OUTWARD], sys::IN, LISTENER[OUTWARD]));
    }
    // last of all: whoever can connect here knows that the rest is there
    listeners[INWARD] = must(b"socket", sys::socket(sys::UNIX));
    sys::unlink(&way_in);
    must(b"the shared folder", sys::bind(listeners[INWARD], &way_in));
    must(b"the shared folder", sys::listen(listeners[INWARD]));
    must(b"watching", sys::watch(epoll, listeners[INWARD], sys::IN, LISTENER[INWARD]));

    // SAFETY: nobody else ever refers to it
    let slots = unsafe { &mut *core::ptr::addr_of_mut!(ROOM) };
    Holder { epoll, listeners, paused: [false; 2], used: [0; 2], queueing: 0, proxy, slots }.serve()
}

impl Holder {
    fn serve(mut self) -> ! {
        let mut events = [Event { ready: 0, data: 0 }; 64];
        loop {
            // a Unix socket's full queue tells nobody when it has room again
            let pause = if self.queueing > 0 { 5 } else { -1 };
            let count = match sys::wait(self.epoll, &mut events, pause) {
                sys::INTERRUPTED => 0,
                answer => must(b"waiting", answer) as usize,
            };
            for event in events.iter().take(count) {
                let (ready, data) = (event.ready, event.data);
                match data {
                    END => sys::exit(0),
                    _ if data == LISTENER[OUTWARD] => self.accept(OUTWARD),
                    _ if data == LISTENER[INWARD] => self.accept(INWARD),
                    _ => {
                        let (at, side, turn) = ((data >> 1) as usize & (SLOTS - 1), (data & 1) as usize, (data >> 32) as u32);
                        if self.slots[at].turn == turn && self.slots[at].stage != Stage::Free {
                            self.news(at, side, ready);
                        }
                    }
                }
            }
            if self.queueing > 0 {
                for at in 0..SLOTS {
                    if self.slots[at].stage == Stage::Queueing {
                        self.dial_proxy(at);
                    }
                }
            }
        }
    }

    fn accept(&mut self, kind: usize) {
        loop {
            let free = if self.used[kind] < OF_A_KIND { self.slots.iter().position(|slot| slot.stage == Stage::Free) } else { None };
            let Some(at) = free else { return self.pause(kind) };
            let fd = match sys::accept(self.listeners[kind]) {
                sys::AGAIN => return,
                sys::ABORTED => continue,
                // no more descriptors: there are again when a connection ends
                error if error < 0 => return self.pause(kind),
                fd => fd as i32,
            };
            let slot = &mut self.slots[at];
            slot.kind = kind;
            slot.turn = slot.turn.wrapping_add(1) & 0x7fff_ffff;
            slot.sides = [fd, -1];
            for flow in &mut slot.flows {
                (flow.start, flow.end, flow.ended, flow.finished) = (0, 0, false, false);
            }
            (slot.port_known, slot.second_try) = (0, false);
            self.used[kind] += 1;
            if kind == OUTWARD {
                sys::tame(fd);
                sys::prompt(fd);
                slot.stage = Stage::Queueing;
                self.queueing += 1;
                self.dial_proxy(at);
            } else {
                slot.stage = Stage::Asking;
                self.watch(at, 0);
            }
        }
    }

    fn pause(&mut self, kind: usize) {
        self.paused[kind] = true;
        sys::rewatch(self.epoll, self.listeners[kind], 0, LISTENER[kind]);
    }

    fn watch(&mut self, at: usize, side: usize) {
        let slot = &self.slots[at];
        if sys::watch(self.epoll, slot.sides[side], ALL, name(slot, at, side)) < 0 {
            self.drop(at);
        }
    }

    fn dial_proxy(&mut self, at: usize) {
        let fd = sys::socket(sys::UNIX);
        if fd < 0 {
            return self.drop(at);
        }
        match sys::connect(fd as i32, &self.proxy) {
            sys::AGAIN => sys::close(fd as i32),
            answer => {
                self.slots[at].sides[1] = fd as i32;
                if answer < 0 {
                    return self.drop(at);
                }
                self.queueing -= 1;
                self.open(at);
            }
        }
    }

    /// Watching tells of what is ready already, so that nothing that came before is missed.
    fn open(&mut self, at: usize) {
        self.slots[at].stage = Stage::Open;
        self.watch(at, 0);
        if self.slots[at].stage == Stage::Open {
            self.watch(at, 1);
        }
    }

    fn news(&mut self, at: usize, side: usize, ready: u32) {
        match self.slots[at].stage {
            Stage::Asking => self.ask(at),
            Stage::Connecting if side == 1 => self.connected(at),
            Stage::Open => {
                if ready & (sys::HANGUP | sys::ERROR) != 0 {
                    // nobody reads there any more; what they had sent before is still passed on
                    self.slots[at].flows[side ^ 1].finished = true;
                }
                self.pass(at);
            }
            Stage::Free | Stage::Queueing | Stage::Connecting => {}
        }
    }

    fn ask(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        while slot.port_known < 2 {
            match sys::receive(slot.sides[0], &mut slot.port[slot.port_known..]) {
                sys::AGAIN => return,
                count if count > 0 => slot.port_known += count as usize,
                _ => return self.drop(at),
            }
        }
        self.dial_port(at);
    }

    fn dial_port(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let port = u16::from_be_bytes(slot.port);
        let (family, to) = if slot.second_try { (sys::INET6, Address::loopback6(port)) } else { (sys::INET, Address::loopback(port)) };
        let fd = sys::socket(family);
        if fd < 0 {
            return self.refuse(at, fd);
        }
        let fd = fd as i32;
        sys::tame(fd);
        sys::prompt(fd);
        slot.sides[1] = fd;
        slot.stage = Stage::Connecting;
        match sys::connect(fd, &to) {
            answer if answer == 0 || answer == sys::IN_PROGRESS => self.watch(at, 1),
            error => self.retry_or_refuse(at, error),
        }
    }

    fn connected(&mut self, at: usize) {
        match sys::error_of(self.slots[at].sides[1]) {
            0 => {
                // one byte always has room in a connection on which nothing was written
                sys::send(self.slots[at].sides[0], &[0]);
                self.slots[at].stage = Stage::Open;
                self.pass(at);
            }
            error => self.retry_or_refuse(at, error),
        }
    }

    /// Some programs listen on the loopback of IPv6 alone.
    fn retry_or_refuse(&mut self, at: usize, error: isize) {
        let slot = &mut self.slots[at];
        sys::close(slot.sides[1]);
        slot.sides[1] = -1;
        if error == sys::REFUSED && !slot.second_try {
            slot.second_try = true;
            return self.dial_port(at);
        }
        // the first family's refusal is what it is about, whatever the second one lacks
        let error = if slot.second_try { sys::REFUSED } else { error };
        self.refuse(at, error);
    }

    fn refuse(&mut self, at: usize, error: isize) {
        sys::send(self.slots[at].sides[0], &[error.unsigned_abs() as u8]);
        self.drop(at);
    }

    /// Passes on what can be passed on, both ways.
    fn pass(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        for _ in 0..ROUNDS {
            let mut moved = false;
            for way in 0..2 {
                match slot.flows[way].turn(slot.sides[way], slot.sides[way ^ 1]) {
                    Some(more) => moved |= more,
                    None => return self.drop(at),
                }
            }
            if slot.flows.iter().all(|flow| flow.finished) {
                return self.drop(at);
            }
            if !moved {
                return;
            }
        }
        for side in 0..2 {
            sys::rewatch(self.epoll, slot.sides[side], ALL, name(slot, at, side));
        }
    }

    fn drop(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if slot.stage == Stage::Queueing {
            self.queueing -= 1;
        }
        for fd in slot.sides {
            if fd >= 0 {
                sys::close(fd);
            }
        }
        slot.stage = Stage::Free;
        self.used[slot.kind] -= 1;
        for kind in [OUTWARD, INWARD] {
            if self.paused[kind] && self.used[kind] < OF_A_KIND {
                self.paused[kind] = false;
                sys::rewatch(self.epoll, self.listeners[kind], sys::IN, LISTENER[kind]);
            }
        }
    }
}

fn name(slot: &Slot, at: usize, side: usize) -> u64 {
    u64::from(slot.turn) << 32 | (at as u64) << 1 | side as u64
}

impl Flow {
    /// One piece from source to target. Whether anything happened; None if the connection is broken.
    fn turn(&mut self, source: i32, target: i32) -> Option<bool> {
        let mut moved = false;
        if self.start == self.end && !self.ended {
            match sys::receive(source, &mut self.buffer) {
                sys::AGAIN => {}
                0 => (self.ended, moved) = (true, true),
                count if count > 0 => (self.start, self.end, moved) = (0, count as usize, true),
                _ => return None,
            }
        }
        if self.finished {
            self.start = self.end; // there is nobody to pass it on to
        }
        if self.start < self.end {
            match sys::send(target, &self.buffer[self.start..self.end]) {
                sys::AGAIN => {}
                count if count > 0 => (self.start, moved) = (self.start + count as usize, true),
                _ => return None,
            }
        }
        if self.ended && self.start == self.end && !self.finished {
            sys::finish(target);
            (self.finished, moved) = (true, true);
        }
        Some(moved)
    }
}
