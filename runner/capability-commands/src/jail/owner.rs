//! Which command a connection on the jail's loopback comes from.
//!
//! The kernel's table of the jail's connections gives the socket's number, the descriptors of the jail's processes give the process, and its
//! ancestors lead to process 1 of its command. All of it is read from the runner's own `/proc`, from outside: nothing that a program
//! inside does can make another command answer for it. Where something is missing (a kernel without the lists of children, a process that has
//! ended) there is no answer.

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Descriptors that are looked at before the search is given up: a program may have opened a million.
const MOST: usize = 20_000;

/// The number, within the jail, of process 1 of the command that has a connection open from `peer` to `port`.
pub(super) fn init_of(warden: &OwnedFd, peer: u16, port: u16) -> Option<u32> {
    let warden: u32 = field(Path::new(&format!("/proc/self/fdinfo/{}", warden.as_raw_fd())), "Pid:")?.parse().ok()?;
    let link = format!("socket:[{}]", inode(warden, peer, port)?);
    let mut looked = 0;
    // the children of the warden are the first processes of the commands
    for init in children(warden) {
        let mut family = vec![init];
        while let Some(process) = family.pop() {
            for descriptor in fs::read_dir(proc(process).join("fd")).into_iter().flatten().flatten() {
                looked += 1;
                if looked > MOST {
                    return None;
                }
                if fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == link.as_str()) {
                    return number_inside(init);
                }
            }
            family.extend(children(process));
        }
    }
    None
}

fn proc(process: u32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}

/// The rest of the line that begins so.
fn field(file: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// From the tables of the network that the process is in. A client may use a socket of either family.
fn inode(process: u32, peer: u16, port: u16) -> Option<u64> {
    let (peer, port) = (format!("0100007F:{peer:04X}"), format!("0100007F:{port:04X}"));
    ["net/tcp", "net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(proc(process).join(table)).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let matches = fields.get(1)?.ends_with(&peer) && fields.get(2)?.ends_with(&port);
            matches.then(|| fields.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
        })
    })
}

fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(proc(process).join("task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// The numbers of a process go from the outermost namespace inwards, and the innermost of a command's first process is its own, where it is 1.
fn number_inside(init: u32) -> Option<u32> {
    let numbers = field(&proc(init).join("status"), "NSpid:")?;
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    numbers.len().checked_sub(2).and_then(|at| numbers[at].parse().ok())
}
