//! The policy as a table; the descriptors on real trees, called as a guest calls them; races against a thread that swaps links.

mod filesystem;
mod hostile;
mod policy;
mod race;
mod streams;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::ledger::{Counts, Entry, EntryVerdict, MemoryLedger};
use capability::{Capability, Setting, StageState};
use wasmtime::component::Resource;

use crate::host::bindings::wasi::filesystem::preopens::Host as _;
use crate::host::bindings::wasi::filesystem::types::{
    DescriptorFlags, DescriptorStat, HostDescriptor, HostDirectoryEntryStream, OpenFlags, PathFlags,
};
use crate::host::{Descriptor, ErrorCode, FsError};
use crate::{Files, FilesSchema};

const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;
const READ: DescriptorFlags = DescriptorFlags::READ;
const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
const WORKSPACE: u32 = 0;

/// An attempt of a stage with a tree of its own.
struct Stage {
    folder: tempfile::TempDir,
    state: StageState,
    ledger: Arc<MemoryLedger>,
    /// The descriptors of `/workspace` (if granted) and `/scratch`.
    mounts: Vec<u32>,
}

/// `files`: the grant's TOML. `plant` makes the workspace.
fn stage(files: &str, plant: impl FnOnce(&Path)) -> Stage {
    limited(files, plant, |_| {})
}

fn limited(files: &str, plant: impl FnOnce(&Path), change: impl FnOnce(&mut Setting)) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let grant = capability::testing::grant(&FilesSchema, files).unwrap();
    let mut setting = capability::testing::setting(folder.path(), Some(&*grant));
    plant(&folder.path().join("workspace"));
    change(Arc::get_mut(&mut setting).unwrap());
    let (boundary, ledger) = capability::testing::boundary();
    let mut state = StageState::new(setting.clone(), boundary);
    state.enter(Files.enter(Some(&grant), &setting).unwrap());
    let mounts = state.get_directories().unwrap().into_iter().map(|(descriptor, _)| descriptor.rep()).collect();
    Stage { folder, state, ledger, mounts }
}

/// Makes files (`a/b` with content `a/b`) and directories (`a/`).
fn tree(root: &Path, paths: &[&str]) {
    for path in paths {
        let full = root.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(full).unwrap();
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, path).unwrap();
        }
    }
}

fn symlink(to: &str, at: PathBuf) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

fn descriptor(rep: u32) -> Resource<Descriptor> {
    Resource::new_borrow(rep)
}

fn code<T>(result: Result<T, FsError>) -> Result<T, ErrorCode> {
    result.map_err(|error| match error {
        FsError::Code(code) => code,
        FsError::Trap(trap) => panic!("{trap:?}"),
    })
}

impl Stage {
    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("workspace").join(path)
    }

    fn on_disk(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    fn root(&self) -> Resource<Descriptor> {
        descriptor(self.mounts[WORKSPACE as usize])
    }

    async fn open(&mut self, path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<u32, ErrorCode> {
        self.open_from(self.mounts[0], path, how, flags).await
    }

    async fn open_from(&mut self, base: u32, path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<u32, ErrorCode> {
        code(self.state.open_at(descriptor(base), FOLLOW, path.into(), how, flags).await).map(|opened| opened.rep())
    }

    async fn read(&mut self, path: &str) -> Result<String, ErrorCode> {
        let opened = self.open(path, OpenFlags::empty(), READ).await?;
        let (bytes, end) = code(self.state.read(descriptor(opened), 1 << 20, 0))?;
        assert!(end, "these files are small");
        self.close(opened);
        Ok(String::from_utf8(bytes).unwrap())
    }

    async fn write(&mut self, path: &str, text: &str) -> Result<(), ErrorCode> {
        let opened = self.open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE, WRITE).await?;
        assert_eq!(code(self.state.write(descriptor(opened), text.into(), 0).await)?, text.len() as u64);
        self.close(opened);
        Ok(())
    }

    async fn stat(&mut self, path: &str) -> Result<DescriptorStat, ErrorCode> {
        code(self.state.stat_at(self.root(), FOLLOW, path.into()).await)
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>, ErrorCode> {
        let opened = self.open(path, OpenFlags::DIRECTORY, READ).await?;
        let entries = code(self.state.read_directory(descriptor(opened)).await)?.rep();
        let mut names = Vec::new();
        while let Some(entry) = code(self.state.read_directory_entry(Resource::new_borrow(entries)))? {
            names.push(entry.name);
        }
        Ok(names)
    }

    async fn mkdir(&mut self, path: &str) -> Result<(), ErrorCode> {
        code(self.state.create_directory_at(self.root(), path.into()).await)
    }

    async fn rmdir(&mut self, path: &str) -> Result<(), ErrorCode> {
        code(self.state.remove_directory_at(self.root(), path.into()).await)
    }

    async fn unlink(&mut self, path: &str) -> Result<(), ErrorCode> {
        code(self.state.unlink_file_at(self.root(), path.into()).await)
    }

    async fn rename(&mut self, from: &str, to: &str) -> Result<(), ErrorCode> {
        code(self.state.rename_at(self.root(), from.into(), self.root(), to.into()).await)
    }

    async fn link(&mut self, from: &str, to: &str) -> Result<(), ErrorCode> {
        code(self.state.link_at(self.root(), PathFlags::empty(), from.into(), self.root(), to.into()).await)
    }

    async fn symlink(&mut self, to: &str, at: &str) -> Result<(), ErrorCode> {
        code(self.state.symlink_at(self.root(), to.into(), at.into()).await)
    }

    async fn readlink(&mut self, path: &str) -> Result<String, ErrorCode> {
        code(self.state.readlink_at(self.root(), path.into()).await)
    }

    fn close(&mut self, rep: u32) {
        HostDescriptor::drop(&mut self.state, Resource::new_own(rep)).unwrap();
    }

    /// The code of the last crossing, if it was denied.
    fn denied(&self) -> Option<String> {
        match self.ledger.entries().last() {
            Some(Entry { verdict: EntryVerdict::Denied { code }, .. }) => Some(code.clone()),
            _ => None,
        }
    }

    fn counts(&self) -> Counts {
        self.ledger.counts()
    }
}
