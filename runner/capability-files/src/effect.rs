//! What stages do with files, as data: operations on one path, on two, and on what is open.

use std::borrow::Cow;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use capability::effect::Nothing;
use capability::{Class, Effect, Recovery};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::ErrorCode;
use crate::path::{ROOT, lexical};

pub type Reply<T> = Result<T, ErrorCode>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mount {
    Workspace,
    Scratch,
}

/// An open directory that a path starts from.
#[derive(Debug, Clone, Serialize)]
pub struct Base {
    pub mount: Mount,
    pub handle: u64,
    /// Relative to the mount, as it was when it was opened. It may have been moved since, but only to where the same may be written:
    /// `policy` lets no directory be moved that holds, or would come to hold, something with other rules.
    pub path: String,
    /// Whether anything may be changed through this descriptor.
    pub mutable: bool,
}

/// A path from a base.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    pub base: Base,
    /// As the guest wrote it.
    pub path: String,
    /// Whether a symbolic link at the very end is followed.
    pub follow: bool,
}

impl Target {
    /// How the target is called in messages: as in the pipeline file, `docs/x`, or `/scratch/x`.
    pub fn name(&self) -> String {
        match lexical(&self.base.path, &self.path) {
            Ok(lexical) => named(self.base.mount, &lexical.path),
            Err(_) => self.path.clone(),
        }
    }
}

/// A path of a mount in messages.
pub fn named(mount: Mount, path: &str) -> String {
    match mount {
        Mount::Workspace => path.to_owned(),
        Mount::Scratch if path == ROOT => "/scratch".to_owned(),
        Mount::Scratch => format!("/scratch/{path}"),
    }
}

/// What kind of thing is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Directory,
    File,
    Symlink,
    Fifo,
    Socket,
    BlockDevice,
    CharacterDevice,
    Unknown,
}

/// What a path really leads to, seen without opening it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sight(pub Option<Resolved>);

#[derive(Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// Relative to the mount, with no symbolic link in it (but perhaps at its end, where it was not followed).
    pub path: String,
    /// Other places that were passed: symbolic links that were read, directories that were left through `..`.
    pub passed: Vec<String>,
    pub found: Found,
    /// The very things that were seen, so that what is acted upon is what was decided.
    #[serde(skip)]
    pub pins: Pins,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    Object(Kind),
    /// Its directory exists; it does not.
    Missing,
    /// A symbolic link leads out of the base.
    Outside,
    Failed(ErrorCode),
}

/// Descriptors opened with `O_PATH`: they hold an object without opening it.
#[derive(Debug, Default, Clone)]
pub struct Pins {
    pub object: Option<Arc<OwnedFd>>,
    /// The directory and the name in it, for operations that make or remove a name.
    pub entry: Option<(Arc<OwnedFd>, String)>,
    /// The path ends with a slash.
    pub slash: bool,
    /// What is there was made by this very effect, before the runner was killed.
    pub own: bool,
}

/// "Look where this leads."
#[derive(Debug, Serialize)]
pub struct Look {
    pub handle: u64,
    pub base: String,
    pub path: String,
    pub follow: bool,
    /// Pin the directory and the name too.
    pub entry: bool,
}

/// What an operation needs at its path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// It makes, replaces or removes a name: look at the directory too.
    pub entry: bool,
    /// Changes what is there.
    pub changes: bool,
    /// Makes what is not there.
    pub makes: bool,
    /// What it makes is a directory.
    pub directory: bool,
    /// What is there goes away, with everything below it.
    pub removes: bool,
    /// Opens what is there.
    pub opens: bool,
    /// Only a regular file will do.
    pub file: bool,
}

/// An operation on one path.
pub trait Operation: Debug + Serialize + Send + Sync + 'static {
    const NAME: &'static str;
    type Reply: Debug + Serialize + DeserializeOwned + Send;

    fn demand(&self) -> Demand;

    /// What a symbolic link that it makes says.
    fn points_to(&self) -> Option<&str> {
        None
    }

    fn class(&self) -> Class {
        Class::Idempotent
    }

    /// What became of it, when it was recorded and never answered: `before` is what was at the path then, `now` what is there now.
    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<Self::Reply>> {
        let _ = (before, now);
        Recovery::Repeat
    }
}

/// An operation at a path.
#[derive(Debug, Serialize)]
pub struct At<O> {
    pub target: Target,
    pub operation: O,
}

impl<O: Operation> Effect for At<O> {
    const NAME: &'static str = O::NAME;
    type Question = Look;
    type Seen = Sight;
    type Reply = Reply<O::Reply>;

    fn subject(&self) -> Cow<'_, str> {
        self.target.name().into()
    }

    fn class(&self) -> Class {
        self.operation.class()
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Open {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    pub exclusive: bool,
    pub truncate: bool,
    pub directory: bool,
    /// Asks for a directory that can be changed.
    pub mutate: bool,
    pub sync: bool,
    pub data_sync: bool,
}

/// What was opened: a number that stands for it from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub handle: u64,
    pub kind: Kind,
    /// Relative to the mount, with no symbolic link in it.
    pub path: String,
}

impl Operation for Open {
    const NAME: &'static str = "files.open";
    type Reply = Opened;

    fn demand(&self) -> Demand {
        Demand {
            entry: self.create,
            changes: self.write || self.truncate || self.mutate,
            makes: self.create,
            opens: true,
            ..Demand::default()
        }
    }

    fn class(&self) -> Class {
        let demand = self.demand();
        if demand.changes || demand.makes { Class::Idempotent } else { Class::Read }
    }

    /// A file that may not be there yet, and is: it is this effect's own.
    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<Opened>> {
        now.pins.own = before == Found::Missing && self.create;
        Recovery::Repeat
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stat;

/// Times are seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub kind: Kind,
    pub links: u64,
    pub size: u64,
    pub modified: (u64, u32),
}

impl Operation for Stat {
    const NAME: &'static str = "files.stat";
    type Reply = Status;

    fn demand(&self) -> Demand {
        Demand::default()
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

/// A fingerprint of an object's identity and its last change.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Fingerprint;

impl Operation for Fingerprint {
    const NAME: &'static str = "files.fingerprint";
    type Reply = (u64, u64);

    fn demand(&self) -> Demand {
        Demand::default()
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct ReadLink;

impl Operation for ReadLink {
    const NAME: &'static str = "files.read-link";
    type Reply = String;

    fn demand(&self) -> Demand {
        Demand::default()
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct MakeDirectory;

impl Operation for MakeDirectory {
    const NAME: &'static str = "files.make-directory";
    type Reply = ();

    fn demand(&self) -> Demand {
        Demand { entry: true, makes: true, directory: true, ..Demand::default() }
    }

    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<()>> {
        made(before, now.found == Found::Object(Kind::Directory))
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct MakeSymlink {
    /// What the link says.
    pub to: String,
}

impl Operation for MakeSymlink {
    const NAME: &'static str = "files.make-symlink";
    type Reply = ();

    fn demand(&self) -> Demand {
        Demand { entry: true, makes: true, ..Demand::default() }
    }

    fn points_to(&self) -> Option<&str> {
        Some(&self.to)
    }

    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<()>> {
        made(before, now.found == Found::Object(Kind::Symlink))
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct RemoveFile;

impl Operation for RemoveFile {
    const NAME: &'static str = "files.remove-file";
    type Reply = ();

    fn demand(&self) -> Demand {
        Demand { entry: true, changes: true, removes: true, ..Demand::default() }
    }

    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<()>> {
        removed(before, now.found)
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct RemoveDirectory;

impl Operation for RemoveDirectory {
    const NAME: &'static str = "files.remove-directory";
    type Reply = ();

    fn demand(&self) -> Demand {
        Demand { entry: true, changes: true, removes: true, ..Demand::default() }
    }

    fn recover(&self, before: Found, now: &mut Resolved) -> Recovery<Reply<()>> {
        removed(before, now.found)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewTime {
    Keep,
    Now,
    /// Seconds since 1970 and nanoseconds.
    At(u64, u32),
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct SetTimes {
    pub accessed: NewTime,
    pub modified: NewTime,
}

impl Operation for SetTimes {
    const NAME: &'static str = "files.set-times";
    type Reply = ();

    fn demand(&self) -> Demand {
        Demand { changes: true, ..Demand::default() }
    }
}

/// What was missing is there: nobody but the stage itself works in its folder, so it made it.
fn made(before: Found, there: bool) -> Recovery<Reply<()>> {
    if before == Found::Missing && there { Recovery::Happened(Ok(())) } else { Recovery::Repeat }
}

fn removed(before: Found, now: Found) -> Recovery<Reply<()>> {
    if matches!(before, Found::Object(_)) && now == Found::Missing { Recovery::Happened(Ok(())) } else { Recovery::Repeat }
}

/// An operation on two paths.
pub trait Pairing: Debug + Serialize + Send + Sync + 'static {
    const NAME: &'static str;

    /// What became of it, when it was recorded and never answered: what was found then, and what is found now.
    fn recover(before: (Found, Found), now: (Found, Found)) -> Recovery<Reply<()>>;

    fn demands() -> (Demand, Demand);
}

#[derive(Debug, Serialize)]
pub struct Between<P> {
    pub from: Target,
    pub to: Target,
    pub operation: P,
}

/// The sights of both paths of a pair.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sights {
    pub from: Sight,
    pub to: Sight,
}

#[derive(Debug, Serialize)]
pub enum LookAt {
    From(Look),
    To(Look),
}

impl<P: Pairing> Effect for Between<P> {
    const NAME: &'static str = P::NAME;
    type Question = LookAt;
    type Seen = Sights;
    type Reply = Reply<()>;

    fn subject(&self) -> Cow<'_, str> {
        format!("{} to {}", self.from.name(), self.to.name()).into()
    }

    fn class(&self) -> Class {
        // once: a second rename finds nothing to rename, or moves what has come in its place
        Class::Once
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rename;

impl Pairing for Rename {
    const NAME: &'static str = "files.rename";

    fn demands() -> (Demand, Demand) {
        let from = Demand { entry: true, changes: true, removes: true, ..Demand::default() };
        (from, Demand { makes: true, ..from })
    }

    /// The old name is gone and the new one is there: it was moved. The old name is still there: it was not.
    fn recover(before: (Found, Found), now: (Found, Found)) -> Recovery<Reply<()>> {
        match (before, now) {
            ((Found::Object(a), _), (Found::Missing, Found::Object(b))) if a == b => Recovery::Happened(Ok(())),
            ((Found::Object(_), _), (Found::Missing, _)) => Recovery::Unknown,
            _ => Recovery::Repeat,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Link;

impl Pairing for Link {
    const NAME: &'static str = "files.link";

    /// What is linked can be written through either name, so it must be writable where it is.
    fn demands() -> (Demand, Demand) {
        (Demand { changes: true, file: true, ..Demand::default() }, Demand { entry: true, makes: true, ..Demand::default() })
    }

    fn recover(before: (Found, Found), now: (Found, Found)) -> Recovery<Reply<()>> {
        made(before.1, now.1 == Found::Object(Kind::File))
    }
}

/// Something open.
#[derive(Debug, Clone, Serialize)]
pub struct OpenRef {
    pub mount: Mount,
    pub handle: u64,
    pub path: String,
}

/// Bytes at a place of an open file.
#[derive(Debug, Serialize)]
pub struct Write {
    pub file: OpenRef,
    /// `None`: at the end, which is looked up before it is decided, so that the record says where the bytes went.
    pub offset: Option<u64>,
    #[serde(serialize_with = "digest")]
    pub bytes: Bytes,
}

/// Where an appending write goes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct End(pub Option<Reply<u64>>);

/// "How long is this file?"
#[derive(Debug, Serialize)]
pub struct HowLong(pub u64);

impl Effect for Write {
    const NAME: &'static str = "files.write";
    type Question = HowLong;
    type Seen = End;
    /// How many bytes were written.
    type Reply = Reply<u64>;

    fn subject(&self) -> Cow<'_, str> {
        named(self.file.mount, &self.file.path).into()
    }

    fn class(&self) -> Class {
        Class::Idempotent
    }
}

/// Written bytes are recorded as their number and their BLAKE3.
fn digest<S: serde::Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    (bytes.len(), blake3::hash(bytes).to_hex().as_str()).serialize(to)
}

/// An operation on something open that needs no look at the disk.
pub trait Handling: Debug + Serialize + Send + Sync + 'static {
    const NAME: &'static str;
    type Reply: Debug + Serialize + DeserializeOwned + Send;

    /// Whether it changes something that reading does not allow to change.
    fn changes(&self) -> bool;
}

#[derive(Debug, Serialize)]
pub struct On<H> {
    pub file: OpenRef,
    pub operation: H,
}

impl<H: Handling> Effect for On<H> {
    const NAME: &'static str = H::NAME;
    type Question = Nothing;
    type Seen = ();
    type Reply = Reply<H::Reply>;

    fn subject(&self) -> Cow<'_, str> {
        named(self.file.mount, &self.file.path).into()
    }

    fn class(&self) -> Class {
        if self.operation.changes() { Class::Idempotent } else { Class::Read }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct SetSize(pub u64);

impl Handling for SetSize {
    const NAME: &'static str = "files.set-size";
    type Reply = ();

    fn changes(&self) -> bool {
        true
    }
}

impl Handling for SetTimes {
    const NAME: &'static str = "files.set-times";
    type Reply = ();

    fn changes(&self) -> bool {
        true
    }
}

/// What was written reaches the disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Flush {
    pub metadata: bool,
}

impl Handling for Flush {
    const NAME: &'static str = "files.sync";
    type Reply = ();

    fn changes(&self) -> bool {
        false
    }
}

/// The entries of a directory, sorted by name.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct List;

impl Handling for List {
    const NAME: &'static str = "files.list";
    type Reply = Vec<(String, Kind)>;

    fn changes(&self) -> bool {
        false
    }
}
