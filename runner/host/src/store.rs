//! Compiled code, kept by content.
//!
//! Mapping compiled code is running it, so an entry is used only if a keyed digest says that this user's runner wrote it: the folder
//! and the key are owner-only, and a file that was cut off, changed or put there by somebody else fails the digest and is
//! rebuilt. Entries appear by rename; a lock file per entry keeps several runners from compiling the same thing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::compile::{self, CompileError};
use crate::engine::CONFIGURATION;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store of compiled plugins, {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("the store of compiled plugins, {0}, belongs to another user; set XDG_CACHE_HOME to a folder of your own")]
    Owner(PathBuf),
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// The owner-only folder of compiled code.
pub struct CodeStore {
    folder: PathBuf,
    key: [u8; 32],
    exe: PathBuf,
}

/// Where verified code lies, and whether it had to be compiled.
pub struct Code {
    pub path: PathBuf,
    pub compiled: bool,
}

impl CodeStore {
    /// Opens the store in `folder`, making folder and key if they are missing. `exe` is the runner that compiles.
    pub fn open(folder: &Path, exe: &Path) -> Result<Self, StoreError> {
        let at = |error| StoreError::Io { path: folder.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at)?;
        let meta = std::fs::symlink_metadata(folder).map_err(at)?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Owner(folder.to_owned()));
        }
        if meta.mode() & 0o077 != 0 {
            std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(at)?;
        }
        let key = read_or_make_key(&folder.join("key")).map_err(at)?;
        Ok(CodeStore { folder: folder.to_owned(), key, exe: exe.to_owned() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The code of a component, compiled now if it is not there. `compiling` is told before a compilation starts.
    pub async fn code(&self, digest: &str, wasm: &[u8], limit: Duration, compiling: impl FnOnce()) -> Result<Code, StoreError> {
        let name = blake3::Hasher::new().update(CONFIGURATION.as_bytes()).update(&[0]).update(digest.as_bytes()).finalize().to_hex();
        let path = self.folder.join(format!("{name}.cwasm"));
        if self.verified(&path) {
            return Ok(Code { path, compiled: false });
        }
        let at = |error| StoreError::Io { path: path.clone(), error };
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path).map_err(at)?;
        let lock = tokio::task::spawn_blocking(move || rustix::fs::flock(&lock, FlockOperation::LockExclusive).map(|()| lock))
            .await
            .map_err(|e| at(io::Error::other(e)))?
            .map_err(|e| at(e.into()))?;
        // somebody else may have compiled it while we waited
        let compiled = !self.verified(&path);
        if compiled {
            compiling();
            let fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder).map_err(at)?;
            compile::compile(&self.exe, wasm, fresh.path(), limit).await?;
            let code = std::fs::read(fresh.path()).map_err(at)?;
            let mac = blake3::keyed_hash(&self.key, &code);
            let mut seal = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder).map_err(at)?;
            seal.write_all(mac.as_bytes()).map_err(at)?;
            // the code first: a seal without its code, or with older code, only fails the digest
            fresh.persist(&path).map_err(|e| at(e.error))?;
            seal.persist(path.with_extension("seal")).map_err(|e| at(e.error))?;
        }
        drop(lock);
        Ok(Code { path, compiled })
    }

    /// Whether there is an entry and it is ours. A bad one is only passed over: it is replaced by the next compilation.
    fn verified(&self, path: &Path) -> bool {
        let Ok(seal) = std::fs::read(path.with_extension("seal")) else { return false };
        let Ok(seal) = <[u8; 32]>::try_from(seal) else { return false };
        let Ok(code) = std::fs::read(path) else { return false };
        // blake3's comparison is constant-time
        blake3::keyed_hash(&self.key, &code) == blake3::Hash::from_bytes(seal)
    }
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    if let Ok(mut file) = File::open(path) {
        let mut key = Vec::new();
        file.read_to_end(&mut key)?;
        if let Ok(key) = <[u8; 32]>::try_from(key) {
            return Ok(key);
        }
    }
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().prefix(".key-").tempfile_in(folder)?;
    fresh.write_all(&key)?;
    match fresh.persist_noclobber(path) {
        Ok(_) => Ok(key),
        // another runner was first, or the file is damaged: read it once more, replace it if it is still no key
        Err(refused) => match std::fs::read(path).ok().and_then(|k| <[u8; 32]>::try_from(k).ok()) {
            Some(theirs) => Ok(theirs),
            None => {
                refused.file.persist(path).map_err(|e| e.error)?;
                Ok(key)
            }
        },
    }
}
