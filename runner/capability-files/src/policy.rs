//! Decides about files: a pure function of the rules, the path that was asked for, and where it really leads.
//!
//! The threat: a component that was granted part of the workspace tries to read or change something else, by name (`..`, absolute paths,
//! letters of the other case), by detour (symbolic links that it found or planted, hard links), by moving (a directory that holds
//! something protected, renamed and written under its new name), or by making the runner hang (a FIFO). Commands of the same stage may
//! change the tree at any moment. Therefore a path is decided twice: first as text, so that nothing outside of the grant is even looked
//! at, then as what it was seen to lead to; and the backend acts on the very objects that were seen ([`crate::effect::Pins`]).

use capability::denial::toml_string;
use capability::{Decision, Denial, Policy, Setting};
use pipeline::grant::MountRule;

use crate::effect::{At, Between, Demand, End, Found, Handling, HowLong, Kind, Look, LookAt, Mount, On, Operation, Pairing};
use crate::effect::{OpenRef, Resolved, Sight, Sights, Target, Write, named};
use crate::path::{Outside, ROOT, lexical, within};
use crate::view::{Reach, View};

/// Outside of every grant.
pub const NOT_GRANTED: &str = "not-granted";
/// Granted for reading only.
pub const READ_ONLY: &str = "read-only";
/// The runner's own. To the guest it does not exist.
pub const HIDDEN: &str = "hidden-path";
/// Read-only whatever is granted.
pub const PROTECTED: &str = "protected-path";
/// Out of the directory that the path starts from.
pub const OUTSIDE: &str = "outside-workspace";
/// Neither a regular file nor a directory.
pub const SPECIAL: &str = "special-file";

#[derive(Debug)]
pub struct FilePolicy {
    stage: String,
    workspace: View,
    scratch: View,
}

impl FilePolicy {
    pub fn new(setting: &Setting) -> Self {
        let workspace = View::new(setting.mounts.clone(), setting.hidden.clone(), setting.protected.clone());
        FilePolicy { stage: setting.name.clone(), workspace, scratch: View::everything() }
    }

    pub(crate) fn view(&self, mount: Mount) -> &View {
        match mount {
            Mount::Workspace => &self.workspace,
            Mount::Scratch => &self.scratch,
        }
    }

    /// Whether a listing shows an entry.
    pub(crate) fn shows(&self, mount: Mount, path: &str, kind: Kind) -> bool {
        match self.view(mount).reach(path) {
            Reach::Hidden | Reach::NotGranted => false,
            Reach::Leading => kind == Kind::Directory,
            Reach::Read | Reach::Write => true,
        }
    }

    /// The path as text: is it one that the stage may know of?
    fn before(&self, target: &Target, demand: Demand) -> Result<Look, Denial> {
        let Target { base, path, follow } = target;
        let lexical = lexical(&base.path, path).map_err(|outside| {
            Denial::new(
                OUTSIDE,
                match outside {
                    Outside::Absolute => format!("`{path}` is absolute; paths start from a directory that is open"),
                    Outside::DotDot => format!("`{path}` leads out of {}", directory(base.mount, &base.path)),
                },
            )
        })?;
        for left in &lexical.left {
            self.visible(base.mount, left, None, demand)?;
        }
        self.visible(base.mount, &lexical.path, None, demand)?;
        if (demand.changes || demand.makes) && !base.mutable {
            return Err(self.read_only(base.mount, &lexical.path));
        }
        Ok(Look { handle: base.handle, base: base.path.clone(), path: path.clone(), follow: *follow, entry: demand.entry })
    }

    /// The path as what it leads to.
    fn after(&self, target: &Target, demand: Demand, resolved: &Resolved) -> Result<(), Denial> {
        let mount = target.base.mount;
        let view = self.view(mount);
        let path = resolved.path.as_str();
        for passed in &resolved.passed {
            self.visible(mount, passed, None, demand)?;
        }
        let (kind, writes) = match resolved.found {
            Found::Outside => {
                let reason = format!("`{}` leads through a symbolic link out of {}", target.name(), directory(mount, &target.base.path));
                return Err(Denial::new(OUTSIDE, reason));
            }
            Found::Object(kind) => (Some(kind), demand.changes),
            Found::Missing => (None, demand.makes),
            Found::Failed(_) => (None, false),
        };
        self.visible(mount, path, kind, demand)?;
        if writes {
            self.writable(mount, path, kind, demand)?;
            if demand.removes
                && let Some(inner) = view.holds_protected(path).filter(|inner| !within(path, inner))
            {
                return Err(Denial::new(PROTECTED, format!("`{path}` holds `{inner}`, which stays where it is, whatever is granted")));
            }
            if demand.removes
                && let Some(inner) = view.holds_read_only(path)
            {
                let reason = format!("`{path}` holds `{inner}`, which is granted for reading only");
                return Err(Denial::new(READ_ONLY, reason).remedy(&self.stage, self.lines(inner, true)));
            }
        }
        match kind {
            Some(kind) if demand.opens && special(kind) => Err(Denial::new(
                SPECIAL,
                format!("`{}` is {}; only regular files and directories are opened", named(mount, path), kind_name(kind)),
            )),
            Some(kind) if demand.file && kind != Kind::File => Err(Denial::new(
                SPECIAL,
                format!("`{}` is {}; hard links are made to regular files only", named(mount, path), kind_name(kind)),
            )),
            _ => Ok(()),
        }
    }

    /// A path that the stage may know of. `kind` where it is known.
    fn visible(&self, mount: Mount, path: &str, kind: Option<Kind>, demand: Demand) -> Result<(), Denial> {
        match self.view(mount).reach(path) {
            Reach::Read | Reach::Write => Ok(()),
            Reach::Leading if kind.is_none_or(|kind| kind == Kind::Directory) => Ok(()),
            Reach::Hidden => Err(Denial::new(HIDDEN, format!("`{path}` belongs to the runner and no stage sees it"))),
            Reach::Leading | Reach::NotGranted => {
                let changes = demand.changes || demand.makes;
                if let Some(protected) = self.view(mount).protected(path).filter(|_| changes) {
                    return Err(read_only_to_all(path, protected));
                }
                let reason = format!("`{path}` is not among the files that the stage is granted");
                Err(Denial::new(NOT_GRANTED, reason).remedy(&self.stage, self.lines(path, changes)))
            }
        }
    }

    fn writable(&self, mount: Mount, path: &str, kind: Option<Kind>, demand: Demand) -> Result<(), Denial> {
        let view = self.view(mount);
        if let Some(protected) = view.protected(path) {
            return Err(read_only_to_all(path, protected));
        }
        match view.reach(path) {
            Reach::Write => Ok(()),
            // `mkdir -p out/dist` works where only `out/dist` is granted
            Reach::Leading if demand.directory && view.leads_to_writable(path) => Ok(()),
            // a directory that is opened for changes, on the way to where they are allowed
            Reach::Leading if demand.opens && kind == Some(Kind::Directory) && view.leads_to_writable(path) => Ok(()),
            _ => Err(self.read_only(mount, path)),
        }
    }

    fn read_only(&self, mount: Mount, path: &str) -> Denial {
        if mount == Mount::Scratch {
            return Denial::new(READ_ONLY, format!("`{}` was reached through a directory that was opened for reading", named(mount, path)));
        }
        if let Some(protected) = self.workspace.protected(path) {
            return read_only_to_all(path, protected);
        }
        Denial::new(READ_ONLY, format!("`{path}` is granted for reading only")).remedy(&self.stage, self.lines(path, true))
    }

    /// The stage's `files` with one more rule, or one that allows more.
    fn lines(&self, path: &str, write: bool) -> String {
        let mut rules: Vec<MountRule> = self.workspace.rules().iter().filter(|rule| rule.path != path).cloned().collect();
        rules.push(MountRule { path: path.to_owned(), writable: write });
        let rules: Vec<String> = rules
            .iter()
            .map(|rule| {
                let access = if rule.writable { "write" } else { "read" };
                format!("{{ path = {}, access = \"{access}\" }}", toml_string(&rule.path))
            })
            .collect();
        format!("files = [{}]", rules.join(", "))
    }

    fn path<Q>(&self, target: &Target, demand: Demand, sight: &Sight, ask: impl FnOnce(Look) -> Q) -> Result<(), Decision<Q>> {
        match &sight.0 {
            None => match self.before(target, demand) {
                Ok(look) => Err(Decision::Observe(ask(look))),
                Err(denial) => Err(Decision::Deny(denial)),
            },
            Some(resolved) => self.after(target, demand, resolved).map_err(Decision::Deny),
        }
    }

    /// Where a new symbolic link points to, as text. What it really leads to is decided whenever it is followed.
    fn pointing(&self, mount: Mount, link: &str, to: &str) -> Result<(), Denial> {
        let folder = link.rfind('/').map_or("", |at| &link[..=at]);
        match lexical(ROOT, &format!("{folder}{to}")) {
            Ok(_) if !to.starts_with('/') => Ok(()),
            _ => Err(Denial::new(OUTSIDE, format!("a symbolic link to `{to}` would lead out of {}", directory(mount, ROOT)))),
        }
    }

    fn changes(&self, file: &OpenRef) -> Result<(), Denial> {
        self.writable(file.mount, &file.path, None, Demand::default())
    }
}

impl<O: Operation> Policy<At<O>> for FilePolicy {
    fn decide(&self, effect: &At<O>, sight: &Sight) -> Decision<Look> {
        let decided = self.path(&effect.target, effect.operation.demand(), sight, |look| look).and_then(|()| {
            match (effect.operation.points_to(), &sight.0) {
                (Some(to), Some(link)) => self.pointing(effect.target.base.mount, &link.path, to).map_err(Decision::Deny),
                _ => Ok(()),
            }
        });
        decided.err().unwrap_or(Decision::Allow)
    }
}

impl<P: Pairing> Policy<Between<P>> for FilePolicy {
    fn decide(&self, effect: &Between<P>, sights: &Sights) -> Decision<LookAt> {
        let (from, to) = P::demands();
        self.path(&effect.from, from, &sights.from, LookAt::From)
            .and_then(|()| self.path(&effect.to, to, &sights.to, LookAt::To))
            .err()
            .unwrap_or(Decision::Allow)
    }
}

impl Policy<Write> for FilePolicy {
    fn decide(&self, effect: &Write, end: &End) -> Decision<HowLong> {
        match self.changes(&effect.file) {
            Err(denial) => Decision::Deny(denial),
            Ok(()) if effect.offset.is_none() && end.0.is_none() => Decision::Observe(HowLong(effect.file.handle)),
            Ok(()) => Decision::Allow,
        }
    }
}

impl<H: Handling> Policy<On<H>> for FilePolicy {
    fn decide(&self, effect: &On<H>, (): &()) -> Decision<capability::Nothing> {
        if effect.operation.changes()
            && let Err(denial) = self.changes(&effect.file)
        {
            return Decision::Deny(denial);
        }
        Decision::Allow
    }
}

fn read_only_to_all(path: &str, protected: &str) -> Denial {
    let reason = if protected == path {
        format!("`{path}` is read-only to every stage, whatever is granted")
    } else {
        format!("`{path}` is below `{protected}`, which is read-only to every stage, whatever is granted")
    };
    Denial::new(PROTECTED, reason)
}

fn special(kind: Kind) -> bool {
    matches!(kind, Kind::Fifo | Kind::Socket | Kind::BlockDevice | Kind::CharacterDevice | Kind::Unknown)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::File => "a file",
        Kind::Symlink => "a symbolic link",
        Kind::Fifo => "a FIFO",
        Kind::Socket => "a socket",
        Kind::BlockDevice | Kind::CharacterDevice => "a device",
        Kind::Unknown => "something unknown",
    }
}

fn directory(mount: Mount, path: &str) -> String {
    match (mount, path) {
        (Mount::Workspace, ROOT) => "the workspace".to_owned(),
        (Mount::Scratch, ROOT) => "the scratch folder".to_owned(),
        _ => format!("the directory `{}` that it starts from", named(mount, path)),
    }
}
