//! The second layer for the kernel's interface: a seccomp filter that refuses the calls no build tool needs and escapes begin with.
//!
//! A list of what is refused, not of what is allowed: programs of every language run here, and an allow-list breaks them with every new libc.
//! Refused calls fail with EPERM, as without the privilege; `clone3` fails with ENOSYS, because its flags lie in memory where a filter
//! cannot look, and C libraries then use `clone`. Calls through another architecture's table kill the process.
//!
//! What this costs: debuggers, `strace` and LeakSanitizer (which traces itself: set `ASAN_OPTIONS=detect_leaks=0`) do not work inside.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Is, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

/// Refused whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // namespaces and mounts
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // files by handle, around every path
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // large interfaces with a history of holes
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    // keys of the user outside
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // other processes' memory and descriptors
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // the machine
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    OPEN_TREE_ATTR,
];

/// Linux 6.15; the same number on all 64-bit architectures.
const OPEN_TREE_ATTR: libc::c_long = 467;

const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `ioctl`s that type into a terminal, or change what runs behind it: TIOCSTI, TIOCLINUX, TIOCSETD. The same numbers on both
/// architectures, and of different types in different C libraries.
const IOCTLS: [u64; 3] = [0x5412, 0x541c, 0x5423];

/// The filter, compiled: programs to be applied in this order.
pub(super) struct Filter(Vec<BpfProgram>);

impl Filter {
    pub(super) fn compile() -> Result<Filter, BackendError> {
        let compile = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32| {
            let action = SeccompAction::Errno(errno as u32);
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, std::env::consts::ARCH.try_into()?)?;
            BpfProgram::try_from(filter)
        };
        let mut programs = vec![compile(BTreeMap::from([(libc::SYS_clone3, vec![])]), libc::ENOSYS)?, compile(rules()?, libc::EPERM)?];
        if cfg!(target_arch = "x86_64") {
            programs.push(refuse_x32());
        }
        Ok(Filter(programs))
    }

    /// Puts the filter on this process and all it starts.
    pub(super) fn apply(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|program| apply_filter(program)).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
            other => io::Error::other(other),
        })
    }
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|number| (*number, vec![])).collect();
    let mut refuse = |number: libc::c_long, conditions: Vec<(u8, Is, u64)>| {
        let conditions = conditions.into_iter().map(|(argument, is, value)| SeccompCondition::new(argument, Len::Dword, is, value));
        let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
        rules.entry(number).or_default().push(rule);
        Ok::<(), BackendError>(())
    };

    for flag in NAMESPACES {
        refuse(libc::SYS_clone, vec![(0, Is::MaskedEq(flag as u64), flag as u64)])?;
    }
    for request in IOCTLS {
        refuse(libc::SYS_ioctl, vec![(1, Is::Eq, request)])?;
    }
    // 0 is PER_LINUX, all ones only asks.
    refuse(libc::SYS_personality, vec![(0, Is::Ne, 0), (0, Is::Ne, 0xffff_ffff)])?;

    let [unix, v4, v6, netlink] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|family| family as u64);
    refuse(libc::SYS_socket, vec![(0, Is::Ne, unix), (0, Is::Ne, v4), (0, Is::Ne, v6), (0, Is::Ne, netlink)])?;
    // Of netlink only the routing family, through which C libraries list interfaces and addresses.
    refuse(libc::SYS_socket, vec![(0, Is::Eq, netlink), (2, Is::Ne, libc::NETLINK_ROUTE as u64)])?;
    // Raw packets. The type's upper bits are flags; SOCK_RAW is 3, SOCK_PACKET 10.
    for kind in [libc::SOCK_RAW, 10] {
        for family in [v4, v6] {
            refuse(libc::SYS_socket, vec![(0, Is::Eq, family), (1, Is::MaskedEq(0xf), kind as u64)])?;
        }
    }
    refuse(libc::SYS_socketpair, vec![(0, Is::Ne, unix)])?;
    Ok(rules)
}

/// The x32 table shares x86_64's architecture number and has numbers of its own for the same calls, from bit 30 on.
fn refuse_x32() -> BpfProgram {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const X32: u32 = 0x4000_0000;
    let statement = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    vec![
        // offset 0 of seccomp_data: the call's number
        statement(LOAD_WORD, 0),
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_names_each_call_once() {
        let filter = Filter::compile().unwrap();
        assert!(filter.0.iter().all(|program| !program.is_empty()));
        let mut numbers = REFUSED.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REFUSED.len());
    }
}
