//! The system calls that the holder makes, without a C library: a negative answer is an error's number.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const SHUTDOWN: usize = 48;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const EXIT_GROUP: usize = 231;
    pub const EPOLL_CTL: usize = 233;
    pub const UNLINKAT: usize = 263;
    pub const EPOLL_PWAIT: usize = 281;
    pub const ACCEPT4: usize = 288;
    pub const SIGNALFD4: usize = 289;
    pub const EPOLL_CREATE1: usize = 291;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const EPOLL_CREATE1: usize = 20;
    pub const EPOLL_CTL: usize = 21;
    pub const EPOLL_PWAIT: usize = 22;
    pub const UNLINKAT: usize = 35;
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const SIGNALFD4: usize = 74;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const SOCKET: usize = 198;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETSOCKOPT: usize = 209;
    pub const SHUTDOWN: usize = 210;
    pub const ACCEPT4: usize = 242;
}

// The kernel enters here with the arguments on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym crate::start);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "mov x0, sp", "bl {start}", "brk #1", start = sym crate::start);

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: [usize; 6]) -> isize {
    let answer;
    // SAFETY: the caller's arguments are what the call wants; the kernel keeps all registers but these
    unsafe {
        asm!(
            "syscall", inlateout("rax") number as isize => answer,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: [usize; 6]) -> isize {
    let answer;
    // SAFETY: as above
    unsafe {
        asm!(
            "svc 0", in("x8") number, inlateout("x0") a[0] as isize => answer,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack)
        );
    }
    answer
}

pub const AGAIN: isize = -11;
pub const INTERRUPTED: isize = -4;
pub const IN_PROGRESS: isize = -115;
pub const ABORTED: isize = -103;
pub const REFUSED: isize = -111;

pub const IN: u32 = 0x1;
pub const OUT: u32 = 0x4;
pub const ERROR: u32 = 0x8;
pub const HANGUP: u32 = 0x10;
pub const EDGE: u32 = 1 << 31;

pub const UNIX: usize = 1;
pub const INET: usize = 2;
pub const INET6: usize = 10;

const STREAM: usize = 1;
const NONBLOCK_CLOEXEC: usize = 0o4000 | 0o2000000;
const NO_SIGNAL: usize = 0x4000;
const SOL_SOCKET: usize = 1;

#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy)]
pub struct Event {
    pub ready: u32,
    pub data: u64,
}

/// An address as the kernel wants it, and its length.
#[derive(Clone, Copy)]
pub struct Address {
    bytes: [u8; 110],
    length: usize,
}

impl Address {
    /// None: the path is longer than an address can be.
    pub fn unix(folder: &[u8], name: &[u8]) -> Option<Address> {
        let mut bytes = [0; 110];
        bytes[..2].copy_from_slice(&(UNIX as u16).to_ne_bytes());
        let mut length = 2;
        for &byte in folder.iter().chain(name) {
            *bytes.get_mut(length).filter(|_| length < 109)? = byte;
            length += 1;
        }
        Some(Address { bytes, length: length + 1 })
    }

    pub fn loopback(port: u16) -> Address {
        let mut bytes = [0; 110];
        bytes[..2].copy_from_slice(&(INET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        Address { bytes, length: 16 }
    }

    pub fn loopback6(port: u16) -> Address {
        let mut bytes = [0; 110];
        bytes[..2].copy_from_slice(&(INET6 as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[23] = 1;
        Address { bytes, length: 28 }
    }
}

pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number and does not come back
    unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    #[allow(clippy::empty_loop)]
    loop {}
}

pub fn say(words: &[u8]) {
    // SAFETY: the bytes are there and are read only
    unsafe { call(number::WRITE, [2, words.as_ptr() as usize, words.len(), 0, 0, 0]) };
}

pub fn close(fd: i32) {
    // SAFETY: whoever closes a descriptor does not use it again
    unsafe { call(number::CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
}

pub fn socket(family: usize) -> isize {
    // SAFETY: numbers only
    unsafe { call(number::SOCKET, [family, STREAM | NONBLOCK_CLOEXEC, 0, 0, 0, 0]) }
}

pub fn connect(fd: i32, to: &Address) -> isize {
    // SAFETY: the address is there and has the length that is said
    unsafe { call(number::CONNECT, [fd as usize, to.bytes.as_ptr() as usize, to.length, 0, 0, 0]) }
}

pub fn bind(fd: i32, to: &Address) -> isize {
    // SAFETY: as above
    unsafe { call(number::BIND, [fd as usize, to.bytes.as_ptr() as usize, to.length, 0, 0, 0]) }
}

pub fn unlink(path: &Address) {
    const HERE: isize = -100;
    // SAFETY: what follows the family is a path that ends with a zero
    unsafe { call(number::UNLINKAT, [HERE as usize, path.bytes[2..].as_ptr() as usize, 0, 0, 0, 0]) };
}

pub fn listen(fd: i32) -> isize {
    // SAFETY: numbers only
    unsafe { call(number::LISTEN, [fd as usize, 1024, 0, 0, 0, 0]) }
}

pub fn accept(fd: i32) -> isize {
    // SAFETY: no address is asked for
    unsafe { call(number::ACCEPT4, [fd as usize, 0, 0, NONBLOCK_CLOEXEC, 0, 0]) }
}

pub fn receive(fd: i32, buffer: &mut [u8]) -> isize {
    // SAFETY: the kernel writes into the buffer, up to its length
    unsafe { call(number::RECVFROM, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

pub fn send(fd: i32, bytes: &[u8]) -> isize {
    // SAFETY: the bytes are there and are read only
    unsafe { call(number::SENDTO, [fd as usize, bytes.as_ptr() as usize, bytes.len(), NO_SIGNAL, 0, 0]) }
}

/// That nothing more will be written.
pub fn finish(fd: i32) {
    // SAFETY: numbers only
    unsafe { call(number::SHUTDOWN, [fd as usize, 1, 0, 0, 0, 0]) };
}

pub fn error_of(fd: i32) -> isize {
    let mut error = 0i32;
    let mut length = 4u32;
    // SAFETY: both are there, and as long as is said
    let asked = unsafe { call(number::GETSOCKOPT, [fd as usize, SOL_SOCKET, 4, &raw mut error as usize, &raw mut length as usize, 0]) };
    if asked < 0 { asked } else { -(error as isize) }
}

/// Keeps what the kernel buffers for a connection small, and lets an address be used again at once.
pub fn tame(fd: i32) {
    const REUSE: usize = 2;
    const SEND_BUFFER: usize = 7;
    const RECEIVE_BUFFER: usize = 8;
    for (option, value) in [(REUSE, 1u32), (SEND_BUFFER, 64 << 10), (RECEIVE_BUFFER, 64 << 10)] {
        // SAFETY: the value is there and four bytes long
        unsafe { call(number::SETSOCKOPT, [fd as usize, SOL_SOCKET, option, &raw const value as usize, 4, 0]) };
    }
}

/// Small pieces are not held back.
pub fn prompt(fd: i32) {
    let value = 1u32;
    // SAFETY: as above; TCP is 6, TCP_NODELAY is 1
    unsafe { call(number::SETSOCKOPT, [fd as usize, 6, 1, &raw const value as usize, 4, 0]) };
}

pub fn epoll() -> isize {
    // SAFETY: numbers only
    unsafe { call(number::EPOLL_CREATE1, [0o2000000, 0, 0, 0, 0, 0]) }
}

fn control(epoll: i32, operation: usize, fd: i32, ready: u32, data: u64) -> isize {
    let event = Event { ready, data };
    // SAFETY: the event is there and read only
    unsafe { call(number::EPOLL_CTL, [epoll as usize, operation, fd as usize, &raw const event as usize, 0, 0]) }
}

pub fn watch(epoll: i32, fd: i32, ready: u32, data: u64) -> isize {
    control(epoll, 1, fd, ready, data)
}

/// Also tells again what is ready now.
pub fn rewatch(epoll: i32, fd: i32, ready: u32, data: u64) -> isize {
    control(epoll, 3, fd, ready, data)
}

/// `pause` in milliseconds; -1: for ever.
pub fn wait(epoll: i32, events: &mut [Event], pause: isize) -> isize {
    // SAFETY: the kernel writes at most as many events as there is room for
    unsafe { call(number::EPOLL_PWAIT, [epoll as usize, events.as_mut_ptr() as usize, events.len(), pause as usize, 0, 8]) }
}

/// A descriptor that becomes readable when somebody asks the process to end. As process 1 it would not hear of it otherwise.
pub fn end_asked() -> isize {
    let mask: u64 = 1 << (15 - 1) | 1 << (2 - 1); // TERM, INT
    // SAFETY: the mask is there, read only, and 8 bytes long
    unsafe {
        call(number::RT_SIGPROCMASK, [0, &raw const mask as usize, 0, 8, 0, 0]);
        call(number::SIGNALFD4, [usize::MAX, &raw const mask as usize, 8, NONBLOCK_CLOEXEC, 0, 0])
    }
}
