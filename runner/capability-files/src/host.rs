//! The host functions of `wasi:filesystem`: lift, cross, lower.

use std::collections::vec_deque::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use capability::io::{InputStream, IoError, OutputStream};
use capability::{Ask, Backend, Denial, Effect, Policy, Refusal, Revive, StageState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::component::{Resource, ResourceTableError};

use crate::FilesRoom;
use crate::backend::{FileSystem, Held, Lost, READ_MAX};
use crate::effect::*;
use crate::path::ROOT;
use crate::policy::{self, FilePolicy};
use crate::stream::{self, FileInput, FileOutput};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:capability-files;
            world files { import wasi:filesystem/types@0.2.12; import wasi:filesystem/preopens@0.2.12; }
        ",
        world: "runner:capability-files/files",
        imports: {
            "wasi:filesystem/types.[method]descriptor.sync-data": async | trappable,
            "wasi:filesystem/types.[method]descriptor.sync": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-size": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-times": async | trappable,
            "wasi:filesystem/types.[method]descriptor.write": async | trappable,
            "wasi:filesystem/types.[method]descriptor.read-directory": async | trappable,
            "wasi:filesystem/types.[method]descriptor.create-directory-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.stat-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.set-times-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.link-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.open-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.readlink-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.remove-directory-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.rename-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.symlink-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.unlink-file-at": async | trappable,
            "wasi:filesystem/types.[method]descriptor.metadata-hash-at": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:io/error": capability::io::bindings::wasi::io::error,
            "wasi:io/poll": capability::io::bindings::wasi::io::poll,
            "wasi:io/streams": capability::io::bindings::wasi::io::streams,
            "wasi:filesystem/types.descriptor": super::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": super::Entries,
        },
        trappable_error_type: { "wasi:filesystem/types.error-code" => super::FsError },
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

use bindings::wasi::clocks::wall_clock::Datetime;
pub use bindings::wasi::filesystem::types::ErrorCode;
use bindings::wasi::filesystem::{preopens, types};
use types::{DescriptorFlags, DescriptorStat, DescriptorType, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags};

/// The representation of `descriptor`: a number, and what may be done through it.
pub struct Descriptor {
    held: Arc<Held>,
    mount: Mount,
    path: String,
    kind: Kind,
    flags: DescriptorFlags,
}

/// The representation of `directory-entry-stream`.
pub struct Entries(VecDeque<(String, Kind)>);

/// How a host function fails: with a code for the guest, or with the attempt's end.
#[derive(Debug)]
pub enum FsError {
    Code(ErrorCode),
    Trap(wasmtime::Error),
}

impl From<ErrorCode> for FsError {
    fn from(code: ErrorCode) -> Self {
        FsError::Code(code)
    }
}

impl From<ResourceTableError> for FsError {
    fn from(error: ResourceTableError) -> Self {
        FsError::Trap(error.into())
    }
}

impl From<capability::ledger::LedgerError> for FsError {
    fn from(error: capability::ledger::LedgerError) -> Self {
        FsError::Trap(wasmtime::Error::new(error))
    }
}

impl From<Refusal> for FsError {
    fn from(refusal: Refusal) -> Self {
        match refusal.denial() {
            Ok(denial) => FsError::Code(code_of(&denial)),
            Err(trap) => FsError::Trap(trap),
        }
    }
}

type FsResult<T> = Result<T, FsError>;

/// A denial in WASI's words. What is hidden does not exist.
pub fn code_of(denial: &Denial) -> ErrorCode {
    match &*denial.code {
        policy::NOT_GRANTED => ErrorCode::Access,
        policy::READ_ONLY => ErrorCode::ReadOnly,
        policy::HIDDEN => ErrorCode::NoEntry,
        // `outside-workspace`, `protected-path`, `special-file`
        _ => ErrorCode::NotPermitted,
    }
}

impl Descriptor {
    fn has(&self, flag: DescriptorFlags) -> bool {
        self.flags.contains(flag)
    }

    fn open(&self) -> OpenRef {
        OpenRef { mount: self.mount, handle: self.held.handle, path: self.path.clone() }
    }

    /// A regular file that was opened for this.
    fn file(&self, flag: DescriptorFlags) -> FsResult<()> {
        match self.kind {
            Kind::Directory => Err(ErrorCode::IsDirectory.into()),
            _ if !self.has(flag) => Err(ErrorCode::BadDescriptor.into()),
            _ => Ok(()),
        }
    }

    /// The start of a path.
    fn target(&self, path: String, follow: bool) -> FsResult<Target> {
        if self.kind != Kind::Directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        let mutable = self.has(DescriptorFlags::MUTATE_DIRECTORY);
        let base = Base { mount: self.mount, handle: self.held.handle, path: self.path.clone(), mutable };
        Ok(Target { base, path, follow })
    }
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

/// The host functions' common ground.
trait Desk {
    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> FsResult<&Descriptor>;
    fn target(&self, descriptor: &Resource<Descriptor>, path: String, follow: bool) -> FsResult<Target>;
    fn rules(&mut self) -> (Arc<FilePolicy>, Arc<FileSystem>);
    async fn cross<E, T>(&mut self, effect: E) -> FsResult<T>
    where
        E: Effect<Reply = Reply<T>>,
        FilePolicy: Policy<E>,
        FileSystem: Backend<E>;
    /// Asks something of what is open.
    fn look<T>(&self, what: &'static str, descriptor: &Descriptor, about: &u64, look: impl FnOnce() -> Reply<T>) -> FsResult<Reply<T>>
    where
        T: Serialize + DeserializeOwned;
    async fn at<O: Operation>(&mut self, base: &Resource<Descriptor>, path: String, follow: bool, operation: O) -> FsResult<O::Reply>
    where
        FilePolicy: Policy<At<O>>,
        FileSystem: Backend<At<O>>;
    async fn between<P: Pairing>(&mut self, from: Target, to: Target, operation: P) -> FsResult<()>
    where
        FileSystem: Backend<Between<P>>;
}

impl Desk for StageState {
    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> FsResult<&Descriptor> {
        Ok(self.table.get(descriptor)?)
    }

    fn target(&self, descriptor: &Resource<Descriptor>, path: String, follow: bool) -> FsResult<Target> {
        if path.contains('\0') {
            return Err(ErrorCode::Invalid.into());
        }
        Desk::descriptor(self, descriptor)?.target(path, follow)
    }

    fn rules(&mut self) -> (Arc<FilePolicy>, Arc<FileSystem>) {
        let room = self.room::<FilesRoom>();
        (room.policy.clone(), room.files.clone())
    }

    async fn cross<E, T>(&mut self, effect: E) -> FsResult<T>
    where
        E: Effect<Reply = Reply<T>>,
        FilePolicy: Policy<E>,
        FileSystem: Backend<E>,
    {
        let (policy, files) = self.rules();
        Ok(self.boundary.cross(&*policy, effect, &*files).await??)
    }

    fn look<T>(&self, what: &'static str, descriptor: &Descriptor, about: &u64, look: impl FnOnce() -> Reply<T>) -> FsResult<Reply<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        let ask = Ask::new(what, about)?.of(named(descriptor.mount, &descriptor.path));
        Ok(self.boundary.deliver_now(&ask, || (look(), Bytes::new()))?.0)
    }

    async fn at<O: Operation>(&mut self, base: &Resource<Descriptor>, path: String, follow: bool, operation: O) -> FsResult<O::Reply>
    where
        FilePolicy: Policy<At<O>>,
        FileSystem: Backend<At<O>>,
    {
        let target = Desk::target(self, base, path, follow)?;
        self.cross(At { target, operation }).await
    }

    async fn between<P: Pairing>(&mut self, from: Target, to: Target, operation: P) -> FsResult<()>
    where
        FileSystem: Backend<Between<P>>,
    {
        self.cross(Between { from, to, operation }).await
    }
}

impl preopens::Host for StageState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let (policy, files) = self.rules();
        let again = self.boundary.replays();
        if again {
            let revive: Arc<dyn Revive> = files.clone();
            self.boundary.on_live(Arc::downgrade(&revive));
        }
        let mut directories = Vec::new();
        for (mount, name) in [(Mount::Workspace, capability::state::WORKSPACE), (Mount::Scratch, capability::state::SCRATCH)] {
            let Some(handle) = files.mount(mount, again).map_err(wasmtime::Error::new)? else { continue };
            let held = Arc::new(Held { handle, files: files.clone() });
            let flags = directory_flags(policy.view(mount).writable());
            let descriptor = Descriptor { held, mount, path: ROOT.to_owned(), kind: Kind::Directory, flags };
            directories.push((self.table.push(descriptor)?, name.to_owned()));
        }
        Ok(directories)
    }
}

fn directory_flags(mutable: bool) -> DescriptorFlags {
    if mutable { DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::READ }
}

impl types::Host for StageState {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        match error {
            FsError::Code(code) => Ok(code),
            FsError::Trap(trap) => Err(trap),
        }
    }

    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.cause.as_ref().and_then(|cause| cause.downcast_ref::<ErrorCode>().copied()))
    }
}

impl types::HostDescriptor for StageState {
    fn read_via_stream(&mut self, this: Resource<Descriptor>, offset: u64) -> FsResult<Resource<InputStream>> {
        let descriptor = self.descriptor(&this)?;
        descriptor.file(DescriptorFlags::READ)?;
        let (held, file) = (descriptor.held.clone(), descriptor.open());
        let input = FileInput { held, file, boundary: self.boundary.clone(), offset };
        Ok(self.table.push(InputStream(Box::new(input)))?)
    }

    fn write_via_stream(&mut self, this: Resource<Descriptor>, offset: u64) -> FsResult<Resource<OutputStream>> {
        write_stream(self, &this, Some(offset))
    }

    fn append_via_stream(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<OutputStream>> {
        write_stream(self, &this, None)
    }

    fn advise(&mut self, this: Resource<Descriptor>, offset: u64, length: u64, advice: types::Advice) -> FsResult<()> {
        let descriptor = self.descriptor(&this)?;
        if descriptor.kind == Kind::Directory {
            return Err(ErrorCode::BadDescriptor.into());
        }
        let advice = match advice {
            types::Advice::Normal => rustix::fs::Advice::Normal,
            types::Advice::Sequential => rustix::fs::Advice::Sequential,
            types::Advice::Random => rustix::fs::Advice::Random,
            types::Advice::WillNeed => rustix::fs::Advice::WillNeed,
            types::Advice::DontNeed => rustix::fs::Advice::DontNeed,
            types::Advice::NoReuse => rustix::fs::Advice::NoReuse,
        };
        if self.boundary.replays() {
            // it changes nothing that the stage could see
            return Ok(());
        }
        Ok(descriptor.held.files.advise(descriptor.held.handle, offset, length, advice)?)
    }

    async fn sync_data(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        sync(self, &this, false).await
    }

    async fn sync(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        sync(self, &this, true).await
    }

    fn get_flags(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        Ok(self.descriptor(&this)?.flags)
    }

    fn get_type(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(self.descriptor(&this)?.kind.into())
    }

    async fn set_size(&mut self, this: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let descriptor = self.descriptor(&this)?;
        descriptor.file(DescriptorFlags::WRITE)?;
        if i64::try_from(size).is_err() {
            return Err(ErrorCode::FileTooLarge.into());
        }
        let file = descriptor.open();
        self.cross(On { file, operation: SetSize(size) }).await
    }

    async fn set_times(&mut self, this: Resource<Descriptor>, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        let descriptor = self.descriptor(&this)?;
        if descriptor.kind == Kind::Directory && !descriptor.has(DescriptorFlags::MUTATE_DIRECTORY) {
            return Err(ErrorCode::ReadOnly.into());
        }
        let file = descriptor.open();
        self.cross(On { file, operation: set_times(accessed, modified) }).await
    }

    fn read(&mut self, this: Resource<Descriptor>, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        let descriptor = self.descriptor(&this)?;
        descriptor.file(DescriptorFlags::READ)?;
        let length = length.min(READ_MAX as u64);
        let bytes = stream::read(&self.boundary, &descriptor.held, &descriptor.open(), length, offset)??;
        let end = (bytes.len() as u64) < length;
        Ok((bytes.into(), end))
    }

    async fn write(&mut self, this: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        let descriptor = self.descriptor(&this)?;
        descriptor.file(DescriptorFlags::WRITE)?;
        let file = descriptor.open();
        self.cross(Write { file, offset: Some(offset), bytes: Bytes::from(bytes) }).await
    }

    async fn read_directory(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<Entries>> {
        let descriptor = self.descriptor(&this)?;
        if descriptor.kind != Kind::Directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        let file = descriptor.open();
        let entries = self.cross(On { file, operation: List }).await?;
        Ok(self.table.push(Entries(entries.into()))?)
    }

    async fn create_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.at(&this, path, false, MakeDirectory).await
    }

    fn stat(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let descriptor = self.descriptor(&this)?;
        let held = &descriptor.held;
        let status = self.look("files.stat", descriptor, &held.handle, || held.files.status(held.handle))??;
        Ok(status.into())
    }

    async fn stat_at(&mut self, this: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        Ok(self.at(&this, path, follows(flags), Stat).await?.into())
    }

    async fn set_times_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.at(&this, path, follows(flags), set_times(accessed, modified)).await
    }

    async fn link_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        from: String,
        to_directory: Resource<Descriptor>,
        to: String,
    ) -> FsResult<()> {
        let from = Desk::target(self, &this, from, follows(flags))?;
        let to = Desk::target(self, &to_directory, to, false)?;
        self.between(from, to, Link).await
    }

    async fn open_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        how: OpenFlags,
        asked: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let operation = Open {
            read: asked.contains(DescriptorFlags::READ),
            write: asked.contains(DescriptorFlags::WRITE),
            create: how.contains(OpenFlags::CREATE),
            exclusive: how.contains(OpenFlags::EXCLUSIVE),
            truncate: how.contains(OpenFlags::TRUNCATE),
            directory: how.contains(OpenFlags::DIRECTORY),
            mutate: asked.contains(DescriptorFlags::MUTATE_DIRECTORY),
            sync: asked.contains(DescriptorFlags::FILE_INTEGRITY_SYNC),
            data_sync: asked.intersects(DescriptorFlags::DATA_INTEGRITY_SYNC | DescriptorFlags::REQUESTED_WRITE_SYNC),
        };
        // O_EXCL: a link at the end is something that exists
        let follow = follows(flags) && !(operation.create && operation.exclusive);
        let base = self.descriptor(&this)?;
        let (mount, mutable) = (base.mount, base.has(DescriptorFlags::MUTATE_DIRECTORY));
        let opened = self.at(&this, path, follow, operation).await?;
        let (policy, files) = self.rules();
        // a number that this process did not give out
        let open = (opened.kind != Kind::Directory).then_some(operation);
        files.adopt(opened.handle, Lost { mount, path: opened.path.clone(), open });
        let held = Arc::new(Held { handle: opened.handle, files });
        let flags = match opened.kind {
            // a directory that was opened for reading can still be changed through, as in POSIX, where its base can
            Kind::Directory => directory_flags(mutable && policy.view(mount).leads_or_is_writable(&opened.path)),
            _ => asked & !DescriptorFlags::MUTATE_DIRECTORY,
        };
        Ok(self.table.push(Descriptor { held, mount, path: opened.path, kind: opened.kind, flags })?)
    }

    async fn readlink_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.at(&this, path, false, ReadLink).await
    }

    async fn remove_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.at(&this, path, false, RemoveDirectory).await
    }

    async fn rename_at(
        &mut self,
        this: Resource<Descriptor>,
        from: String,
        to_directory: Resource<Descriptor>,
        to: String,
    ) -> FsResult<()> {
        let from = Desk::target(self, &this, from, false)?;
        let to = Desk::target(self, &to_directory, to, false)?;
        self.between(from, to, Rename).await
    }

    async fn symlink_at(&mut self, this: Resource<Descriptor>, to: String, path: String) -> FsResult<()> {
        if to.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        if to.contains('\0') {
            return Err(ErrorCode::Invalid.into());
        }
        self.at(&this, path, false, MakeSymlink { to }).await
    }

    async fn unlink_file_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.at(&this, path, false, RemoveFile).await
    }

    fn is_same_object(&mut self, this: Resource<Descriptor>, other: Resource<Descriptor>) -> wasmtime::Result<bool> {
        let (one, other) = (&self.table.get(&this)?.held, &self.table.get(&other)?.held);
        let ask = Ask::new("files.same", &(one.handle, other.handle))?;
        Ok(self.boundary.deliver_now(&ask, || (one.files.same(one.handle, other.handle), Bytes::new()))?.0)
    }

    fn metadata_hash(&mut self, this: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let descriptor = self.descriptor(&this)?;
        let held = &descriptor.held;
        let (lower, upper) = self.look("files.fingerprint", descriptor, &held.handle, || held.files.fingerprint(held.handle))??;
        Ok(MetadataHashValue { lower, upper })
    }

    async fn metadata_hash_at(&mut self, this: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        let (lower, upper) = self.at(&this, path, follows(flags), Fingerprint).await?;
        Ok(MetadataHashValue { lower, upper })
    }

    fn drop(&mut self, this: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for StageState {
    fn read_directory_entry(&mut self, this: Resource<Entries>) -> FsResult<Option<types::DirectoryEntry>> {
        let entry = self.table.get_mut(&this)?.0.pop_front();
        Ok(entry.map(|(name, kind)| types::DirectoryEntry { type_: kind.into(), name }))
    }

    fn drop(&mut self, this: Resource<Entries>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

fn write_stream(state: &mut StageState, this: &Resource<Descriptor>, offset: Option<u64>) -> FsResult<Resource<OutputStream>> {
    let (policy, _) = state.rules();
    let descriptor = state.descriptor(this)?;
    descriptor.file(DescriptorFlags::WRITE)?;
    let output = FileOutput::new(descriptor.held.clone(), descriptor.open(), state.boundary.clone(), policy, offset);
    Ok(state.table.push(OutputStream(Box::new(output)))?)
}

/// Without effect where nothing can have been written.
async fn sync(state: &mut StageState, this: &Resource<Descriptor>, metadata: bool) -> FsResult<()> {
    let descriptor = state.descriptor(this)?;
    if !descriptor.has(DescriptorFlags::WRITE) {
        return Ok(());
    }
    let file = descriptor.open();
    state.cross(On { file, operation: Flush { metadata } }).await
}

fn set_times(accessed: NewTimestamp, modified: NewTimestamp) -> SetTimes {
    let time = |time| match time {
        NewTimestamp::NoChange => NewTime::Keep,
        NewTimestamp::Now => NewTime::Now,
        NewTimestamp::Timestamp(at) => NewTime::At(at.seconds, at.nanoseconds),
    };
    SetTimes { accessed: time(accessed), modified: time(modified) }
}

impl From<Kind> for DescriptorType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Directory => DescriptorType::Directory,
            Kind::File => DescriptorType::RegularFile,
            Kind::Symlink => DescriptorType::SymbolicLink,
            Kind::Fifo => DescriptorType::Fifo,
            Kind::Socket => DescriptorType::Socket,
            Kind::BlockDevice => DescriptorType::BlockDevice,
            Kind::CharacterDevice => DescriptorType::CharacterDevice,
            Kind::Unknown => DescriptorType::Unknown,
        }
    }
}

impl From<Status> for DescriptorStat {
    fn from(status: Status) -> Self {
        let (seconds, nanoseconds) = status.modified;
        DescriptorStat {
            type_: status.kind.into(),
            link_count: status.links,
            size: status.size,
            // when a file was last read, and when its copy was made, is no business of a guest's
            data_access_timestamp: None,
            data_modification_timestamp: Some(Datetime { seconds, nanoseconds }),
            status_change_timestamp: None,
        }
    }
}
