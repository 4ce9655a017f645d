//! Machines that are unlike this one: older kernels, and systems that refuse.

use std::{
    fs,
    process::{Command, ExitCode},
};

use capability_commands::jail::{self, Bind, Reason};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};

use crate::{
    Case,
    world::{World, run},
};

pub const CASES: &[Case] = &[
    ("probe says what there is", probe),
    ("a kernel without mount_setattr", without_mount_setattr),
    ("user.max_user_namespaces is 0", no_user_namespaces_left),
    ("a container that filters unshare", filtered),
    ("an executable that is no runner", not_a_runner),
];

fn refuse(numbers: &[libc::c_long], errno: i32) {
    let rules = numbers.iter().map(|number| (*number, vec![])).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// A warden under this name finds itself on Linux 5.10.
const OLD: &str = "warden-on-linux-5.10";

pub fn pretend_to_be_old(name: &str) {
    if name.ends_with(OLD) {
        refuse(&[libc::SYS_mount_setattr, libc::SYS_close_range, libc::SYS_landlock_create_ruleset], libc::ENOSYS);
    }
}

fn without_mount_setattr() {
    let world = World::new();
    let old = world.outside().join(OLD);
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &old).unwrap();
    fs::create_dir(world.workspace().join(".git")).unwrap();
    let mut spec = world.spec();
    spec.warden = old;
    spec.binds.push(Bind::directory(world.outside(), "/a name"));
    spec.read_only.push("/workspace/.git".into());
    world.with(spec, async |jail| {
        let mounts = run(jail, "grep", &["-E", " (/usr|/workspace|/workspace/.git|/a.040name) ", "/proc/self/mountinfo"]).await.ok();
        assert_eq!(mounts.matches("nosuid,nodev").count(), 4, "{mounts}");
        assert_eq!(mounts.matches(" ro,").count(), 3, "{mounts}");
        for script in ["echo > '/a name/secret'", "echo > .git/x", "touch /usr/x", "ls /proc/self/fd | grep -v '^[0-3]$'"] {
            let output = run(jail, "sh", &["-c", script]).await;
            assert!(!output.status.success(), "{script}: {output:?}");
        }
        run(jail, "sh", &["-c", "echo > x"]).await.ok();
    });
}

fn probe() {
    let support = jail::probe().unwrap();
    assert!(support.landlock_abi.is_none_or(|abi| abi >= 1));
}

/// Makes this process the inhabitant of another machine, and asks there.
pub fn probe_where(machine: &str) -> ExitCode {
    match machine {
        "max_user_namespaces=0" => {
            // In a namespace of its own, where the switch can be set without anybody else noticing.
            // SAFETY: these only ask, and the other moves this process, which has one thread.
            let (user, answer) = unsafe { (libc::geteuid(), libc::unshare(libc::CLONE_NEWUSER)) };
            assert_eq!(answer, 0);
            fs::write("/proc/self/uid_map", format!("0 {user} 1")).unwrap();
            fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
        }
        "filter" => refuse(&[libc::SYS_unshare], libc::EPERM),
        other => panic!("no machine {other}"),
    }
    match jail::probe() {
        Ok(support) => println!("{support:?}"),
        Err(unsupported) => println!("{:?}: {unsupported}", unsupported.reason),
    }
    ExitCode::SUCCESS
}

#[track_caller]
fn there(machine: &str, reason: Reason, says: &str) {
    let output = Command::new(std::env::current_exe().unwrap()).args(["__probe", machine]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("{reason:?}: ")), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(says) && text.contains("in = \"host\""), "{text}");
}

fn no_user_namespaces_left() {
    there("max_user_namespaces=0", Reason::MaxUserNamespaces, "sysctl -w user.max_user_namespaces=");
}

fn filtered() {
    there("filter", Reason::Container, "--security-opt seccomp=unconfined");
}

fn not_a_runner() {
    let world = World::new();
    for (program, says) in [("/bin/true", "is its executable a runner"), ("/no/such/runner", "cannot start the warden `/no/such/runner`")] {
        let mut spec = world.spec();
        spec.warden = program.into();
        let error = world.runtime.block_on(jail::Jail::start(spec)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(jail::probe_with(program.as_ref()).is_err());
    }
}
