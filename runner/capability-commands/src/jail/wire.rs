//! What runner and warden say to each other: JSON frames over a Unix stream socket, with descriptors beside them.
//!
//! A frame is its length (u32, little-endian), the number of descriptors that belong to it (u8), and the JSON. Descriptors travel with the
//! frame's first byte, so they are there when the frame is; the number says whose they are when several frames arrive at once.
//! Both ends are the same binary: there is no version to negotiate. Nothing a confined program holds leads to this socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    error::{SetupError, SpawnError},
    spec::{ExitStatus, JailSpec, View},
};

/// From the runner to the warden.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first frame, and the only one of its kind.
    Build(JailSpec),
    /// With three descriptors: stdin, stdout, stderr.
    Spawn {
        id: u64,
        command: Command,
    },
    /// SIGTERM to the program and all it started.
    Terminate {
        id: u64,
    },
    Kill {
        id: u64,
    },
    TerminateAll,
    /// Wants an unconnected TCP socket that lives in the jail's network.
    Socket {
        id: u64,
        version: IpVersion,
    },
}

/// From the warden to the runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// With a pidfd of the warden, before anything can go wrong.
    Born,
    Ready,
    /// Nothing follows.
    Failed(SetupError),
    Started {
        id: u64,
        /// Of its process 1, in the jail's pid namespace.
        init: u32,
    },
    Refused {
        id: u64,
        error: SpawnError,
    },
    /// The program, and all it started, are gone.
    Ended {
        id: u64,
        status: ExitStatus,
    },
    /// With the descriptor, unless the system refused it with this error number.
    Socket {
        id: u64,
        errno: i32,
    },
}

/// A [`super::SpawnSpec`] without its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Command {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub dir: PathBuf,
    pub name: Option<String>,
    pub view: Option<View>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum IpVersion {
    V4,
    V6,
}

const HEADER: usize = 5;
/// Arguments and variables of one command are at most 2 MiB on Linux; a jail's binds are far less.
const LARGEST: usize = 16 << 20;
/// Descriptors in one message: a command's three streams.
const DESCRIPTORS: usize = 3;

/// A frame on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    pub(super) fn new(message: &impl Serialize, descriptors: Vec<OwnedFd>) -> io::Result<Outgoing> {
        assert!(descriptors.len() <= DESCRIPTORS, "no message carries so many descriptors");
        let mut bytes = vec![0; HEADER];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - HEADER;
        if length > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{length} bytes are too much for one command")));
        }
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[4] = descriptors.len() as u8;
        Ok(Outgoing { bytes, sent: 0, descriptors })
    }

    /// Sends what the socket takes now. True once all of it is sent.
    pub(super) fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            match sendmsg(&socket, &[IoSlice::new(&self.bytes[self.sent..])], &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent += count;
                    self.descriptors.clear();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Frames on their way in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Incoming {
    /// Receives once. False at the end of the stream.
    pub(super) fn receive(&mut self, socket: impl AsFd, flags: RecvFlags) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&chunk[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next complete frame, if one is there.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some((header, rest)) = self.bytes.split_at_checked(HEADER) else { return Ok(None) };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let count = usize::from(header[4]);
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..HEADER + length);
        if self.descriptors.len() < count {
            // The receiver is out of descriptors: the kernel drops what it cannot install.
            return Err(io::Error::other("descriptors were lost on the way: too many files are open"));
        }
        Ok(Some((message, self.descriptors.drain(..count).collect())))
    }

    /// Blocks for the next frame. None at the end of the stream.
    pub(super) fn wait<T: DeserializeOwned>(&mut self, socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(Some(frame));
            }
            if !self.receive(&socket, RecvFlags::empty())? {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    fn file(content: &str) -> OwnedFd {
        let fd = rustix::fs::memfd_create("wire", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(content.as_bytes()).unwrap();
        file.rewind().unwrap();
        file.into()
    }

    #[test]
    fn frames_that_arrive_together_keep_their_own_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        Outgoing::new(&Request::TerminateAll, vec![]).unwrap().send(&one).unwrap();
        Outgoing::new(&Request::Kill { id: 1 }, vec![file("a")]).unwrap().send(&one).unwrap();
        Outgoing::new(&Request::Kill { id: 2 }, vec![file("b"), file("c")]).unwrap().send(&one).unwrap();
        drop(one);
        let mut incoming = Incoming::default();
        let mut seen = Vec::new();
        while let Some((request, descriptors)) = incoming.wait::<Request>(&other).unwrap() {
            let contents: Vec<String> = descriptors
                .into_iter()
                .map(|fd| {
                    let mut text = String::new();
                    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
                    text
                })
                .collect();
            seen.push(format!("{request:?} {contents:?}"));
        }
        assert_eq!(seen, ["TerminateAll []", "Kill { id: 1 } [\"a\"]", "Kill { id: 2 } [\"b\", \"c\"]"]);
    }

    #[test]
    fn a_frame_larger_than_the_socket_buffer_arrives_whole() {
        let (one, other) = UnixStream::pair().unwrap();
        let long = "x".repeat(3 << 20);
        let command = Command { program: long.clone(), args: vec![], env: vec![], dir: "/".into(), name: None, view: None };
        let sender =
            std::thread::spawn(move || Outgoing::new(&Request::Spawn { id: 7, command }, vec![file("in")]).unwrap().send(&one).unwrap());
        let (request, descriptors) = Incoming::default().wait::<Request>(&other).unwrap().unwrap();
        assert!(sender.join().unwrap());
        let Request::Spawn { id: 7, command } = request else { panic!("{request:?}") };
        assert_eq!((command.program.len(), descriptors.len()), (long.len(), 1));
    }
}
