//! Can this machine confine a process, and if not, why and what mends it?
//!
//! Asked by really making a jail with nothing in it: switches can be read, but a container's own filter, or a security module, shows itself
//! only when it refuses. The switches are read afterwards, to name the one that is to blame.

use std::{fmt, io, os::unix::net::UnixStream, path::Path, sync::mpsc, time::Duration};

use rustix::process::{Signal, pidfd_send_signal};

use super::{
    error::{JailError, NOT_A_WARDEN, SetupError, Step},
    keeper::Keeper,
    spec::JailSpec,
    sys,
    wire::{Incoming, Outgoing, Reply, Request},
};

/// What this machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The version of Landlock that stands behind the namespaces; none if the kernel has it not or has it turned off.
    pub landlock_abi: Option<u32>,
    /// How long the empty jail took to come up.
    pub took: Duration,
}

/// Why no process can be confined here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub reason: Reason,
    /// What was refused, in the system's words.
    pub refused: String,
}

/// What is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// `kernel.unprivileged_userns_clone` is 0 (a switch of Debian's kernels).
    UnprivilegedUsernsClone,
    /// `user.max_user_namespaces` is 0.
    MaxUserNamespaces,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (the default of Ubuntu since 24.04).
    AppArmor,
    /// The runner is inside a container, or a `chroot`, that refuses.
    Container,
    /// The kernel was built without something, or is older than 5.3.
    Kernel,
    /// None of the known ones.
    Unknown,
}

impl Reason {
    /// What a person can do, a sentence, with the commands to type.
    pub fn remedy(&self) -> &'static str {
        match self {
            Reason::UnprivilegedUsernsClone => {
                "the kernel does not give user namespaces to ordinary users: `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
            }
            Reason::MaxUserNamespaces => "the kernel's limit of user namespaces is 0: `sudo sysctl -w user.max_user_namespaces=15000`",
            Reason::AppArmor => {
                "AppArmor takes the privileges out of user namespaces: allow them for this runner with a profile that says `userns,`, or for \
                 everybody with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
            }
            Reason::Container => {
                "the container that the runner is in does not allow it: start it with `--security-opt seccomp=unconfined --security-opt \
                 systempaths=unconfined` (and, under AppArmor, `--security-opt apparmor=unconfined`), or run the runner outside"
            }
            Reason::Kernel => {
                "the kernel lacks a feature: namespaces (user, mount, pid, net, ipc, uts) and seccomp filters of Linux 5.3 or newer are needed"
            }
            Reason::Unknown => "the system does not say why",
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "processes cannot be confined on this machine (cannot {}): {}; or grant `commands` with `in = \"host\"`",
            self.refused,
            self.reason.remedy()
        )
    }
}

impl std::error::Error for Unsupported {}

/// Tries it, with this very executable as the warden. Blocks for some milliseconds, at most ten seconds.
///
/// # Errors
/// Why not, with the remedy.
pub fn probe() -> Result<Support, Unsupported> {
    probe_with(Path::new("/proc/self/exe"))
}

/// [`probe`] with another executable that calls [`super::warden_main`].
///
/// # Errors
/// Why not, with the remedy.
pub fn probe_with(warden: &Path) -> Result<Support, Unsupported> {
    let began = std::time::Instant::now();
    let unknown =
        |error: io::Error| Unsupported { reason: Reason::Unknown, refused: format!("start the warden `{}`: {error}", warden.display()) };
    match try_empty(warden).map_err(unknown)? {
        Ok(()) => Ok(Support { landlock_abi: sys::landlock_abi(), took: began.elapsed() }),
        Err(error) => Err(Unsupported { reason: blame(&error, &Machine), refused: error.to_string() }),
    }
}

fn try_empty(warden: &Path) -> io::Result<Result<(), SetupError>> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(Duration::from_secs(10)))?;
    let keeper = Keeper::get()?;
    let (told, started) = mpsc::sync_channel(1);
    keeper.start(warden.to_owned(), theirs, move |result| drop(told.send(result)));
    started.recv().map_err(io::Error::other)??;
    // A process that has ended already is noticed below.
    let _ = Outgoing::new(&Request::Build(JailSpec::new(warden)), Vec::new())?.send(&ours);
    let mut incoming = Incoming::default();
    let mut born = None;
    let outcome = loop {
        match incoming.wait::<Reply>(&ours) {
            Ok(Some((Reply::Born, descriptors))) => born = descriptors.into_iter().next(),
            Ok(Some((Reply::Ready, _))) => break Ok(Ok(())),
            Ok(Some((Reply::Failed(error), _))) => break Ok(Err(error)),
            Ok(_) => break Err(io::Error::other(NOT_A_WARDEN)),
            Err(error) => break Err(error),
        }
    };
    if let Some(warden) = born {
        let _ = pidfd_send_signal(&warden, Signal::KILL);
        keeper.bury(warden, || {});
    }
    outcome
}

/// Is the machine to blame for a failed set-up, or the jail that was asked for?
pub(super) fn explain(error: SetupError) -> JailError {
    let machine = match error.step {
        Step::UserNamespace | Step::MapUser | Step::Namespaces | Step::Loopback | Step::Proc | Step::Pivot | Step::Seccomp => true,
        // The first mount of all: what refuses this refuses any.
        Step::Mount => error.path.as_deref() == Some(Path::new("/")) && matches!(error.errno, libc::EPERM | libc::EACCES),
        _ => false,
    };
    if machine || error.errno == libc::ENOSYS {
        Unsupported { reason: blame(&error, &Machine), refused: error.to_string() }.into()
    } else {
        error.into()
    }
}

/// What can be read about a machine.
trait Facts {
    /// The value of a kernel setting, none if it does not exist here.
    fn sysctl(&self, name: &str) -> Option<String>;
    fn privileged(&self) -> bool;
}

struct Machine;

impl Facts for Machine {
    fn sysctl(&self, name: &str) -> Option<String> {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
        Some(value.trim().to_owned())
    }

    fn privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

fn blame(error: &SetupError, facts: &dyn Facts) -> Reason {
    let is = |name: &str, value: &str| facts.sysctl(name).as_deref() == Some(value);
    match (error.step, error.errno) {
        (_, libc::ENOSYS) => Reason::Kernel,
        (Step::UserNamespace | Step::Namespaces, libc::EINVAL) => Reason::Kernel,
        (Step::UserNamespace | Step::Namespaces, libc::ENOSPC | libc::EUSERS) => {
            if is("user.max_user_namespaces", "0") {
                Reason::MaxUserNamespaces
            } else {
                Reason::Unknown
            }
        }
        (_, libc::EPERM | libc::EACCES) if !facts.privileged() && is("kernel.apparmor_restrict_unprivileged_userns", "1") => {
            Reason::AppArmor
        }
        (Step::UserNamespace, libc::EPERM) if !facts.privileged() && is("kernel.unprivileged_userns_clone", "0") => {
            Reason::UnprivilegedUsernsClone
        }
        // No switch of the kernel's says no, and still it is refused: a filter, a `chroot`, a /proc with parts covered.
        (_, libc::EPERM | libc::EACCES) => Reason::Container,
        _ => Reason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(&'static [(&'static str, &'static str)], bool);

    impl Facts for Fake {
        fn sysctl(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }

        fn privileged(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn each_switch_is_named_by_what_it_refuses() {
        let ubuntu = &[("kernel.apparmor_restrict_unprivileged_userns", "1"), ("kernel.unprivileged_userns_clone", "1")];
        let debian = &[("kernel.unprivileged_userns_clone", "0")];
        let none = &[("user.max_user_namespaces", "0")];
        let open = &[("user.max_user_namespaces", "96365"), ("kernel.unprivileged_userns_clone", "1")];
        let cases: &[(Step, i32, Fake, Reason)] = &[
            (Step::UserNamespace, libc::EPERM, Fake(debian, false), Reason::UnprivilegedUsernsClone),
            // Debian's switch does not bind root: then it is something else.
            (Step::UserNamespace, libc::EPERM, Fake(debian, true), Reason::Container),
            (Step::UserNamespace, libc::ENOSPC, Fake(none, false), Reason::MaxUserNamespaces),
            (Step::Namespaces, libc::ENOSPC, Fake(none, true), Reason::MaxUserNamespaces),
            // Ubuntu lets the namespace be made and takes its privileges away.
            (Step::MapUser, libc::EPERM, Fake(ubuntu, false), Reason::AppArmor),
            (Step::Namespaces, libc::EPERM, Fake(ubuntu, false), Reason::AppArmor),
            (Step::Mount, libc::EACCES, Fake(ubuntu, false), Reason::AppArmor),
            (Step::UserNamespace, libc::EPERM, Fake(open, false), Reason::Container),
            (Step::Proc, libc::EPERM, Fake(open, true), Reason::Container),
            (Step::UserNamespace, libc::EINVAL, Fake(open, false), Reason::Kernel),
            (Step::Mount, libc::ENOSYS, Fake(open, false), Reason::Kernel),
            (Step::UserNamespace, libc::ENOMEM, Fake(open, false), Reason::Unknown),
        ];
        for (step, errno, facts, reason) in cases {
            let error = SetupError { step: *step, path: None, errno: *errno, detail: None };
            assert_eq!(blame(&error, facts), *reason, "{step:?} {errno}");
        }
    }
}
