//! Attempts on files, through `wasi:filesystem`.

use serde::Deserialize;

use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};
use crate::result::{Attempted, Why, refused};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    op: Operation,
    #[serde(default = "workspace")]
    from: String,
    path: String,
    /// The other path of `link` and `rename`, the target of `symlink`, the text of `write`.
    #[serde(default)]
    to: String,
    /// Whether a symbolic link at the end of `path` is followed.
    #[serde(default = "yes")]
    follow: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Operation {
    Read,
    Write,
    List,
    Stat,
    Link,
    Symlink,
    Readlink,
    Rename,
    Mkdir,
    Unlink,
    Rmdir,
    Utime,
    /// Opens without reading.
    Open,
    /// Opens for reading, and writes through what it got.
    Smuggle,
}

fn workspace() -> String {
    "/workspace".to_owned()
}

fn yes() -> bool {
    true
}

impl Why for ErrorCode {
    fn told(self) -> Attempted {
        match self {
            ErrorCode::Access | ErrorCode::ReadOnly | ErrorCode::NotPermitted => refused(self.name()),
            other => Attempted::Error(other.name().to_owned()),
        }
    }
}

impl Attempt {
    pub fn run(self) -> Attempted {
        let Some((base, _)) = get_directories().into_iter().find(|(_, path)| *path == self.from) else {
            return refused(format_args!("{} is not there", self.from));
        };
        self.on(&base).into()
    }

    fn on(&self, base: &Descriptor) -> Result<String, ErrorCode> {
        let follow = if self.follow { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() };
        let path = self.path.as_str();
        let open = |how: OpenFlags, rights: DescriptorFlags| base.open_at(follow, path, how, rights);
        match self.op {
            Operation::Read => {
                let file = open(OpenFlags::empty(), DescriptorFlags::READ)?;
                file.read(4096, 0).map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned())
            }
            Operation::Write => {
                let file = open(OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE)?;
                file.write(self.to.as_bytes(), 0)?;
                file.sync().map(|()| String::new())
            }
            Operation::List => {
                let entries = open(OpenFlags::DIRECTORY, DescriptorFlags::READ)?.read_directory()?;
                let mut names = Vec::new();
                while let Some(entry) = entries.read_directory_entry()? {
                    names.push(entry.name);
                }
                Ok(names.join(","))
            }
            Operation::Stat => base.stat_at(follow, path).map(|stat| format!("{:?} {}", stat.type_, stat.size)),
            Operation::Link => base.link_at(follow, path, base, &self.to).map(|()| String::new()),
            Operation::Symlink => base.symlink_at(&self.to, path).map(|()| String::new()),
            Operation::Readlink => base.readlink_at(path),
            Operation::Rename => base.rename_at(path, base, &self.to).map(|()| String::new()),
            Operation::Mkdir => base.create_directory_at(path).map(|()| String::new()),
            Operation::Unlink => base.unlink_file_at(path).map(|()| String::new()),
            Operation::Rmdir => base.remove_directory_at(path).map(|()| String::new()),
            Operation::Utime => base.set_times_at(follow, path, NewTimestamp::Now, NewTimestamp::Now).map(|()| String::new()),
            Operation::Open => open(OpenFlags::empty(), DescriptorFlags::READ).map(|_| String::new()),
            Operation::Smuggle => {
                let file = open(OpenFlags::empty(), DescriptorFlags::READ)?;
                file.write(self.to.as_bytes(), 0)?;
                file.set_size(0)?;
                file.sync().map(|()| String::new())
            }
        }
    }
}
