//! Giving up every privilege, for good, before a program runs.
//!
//! The program's user is the caller's own, under the number 1000: what it writes into the workspace belongs to the caller, and it does not
//! take itself for root when the caller is. Over anything outside it has no privilege, because its capabilities, had it any, would count in
//! its own user namespace only; it has none even there.

use std::io;

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
        set_capabilities_secure_bits, set_no_new_privs,
    },
};

use super::{spec::Limits, sys};

/// Makes this process's memory, descriptors and executable unreadable to others of the same user: `/proc/<pid>/exe` of a copy of the
/// runner must not be a way to the runner's own file. Undone by the program's `exec`.
pub(super) fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Drops all capabilities from all sets and bars every way to new ones.
pub(super) fn drop_all() -> io::Result<()> {
    // While CAP_SETPCAP is still there for these two.
    sys::empty_bounding_set()?;
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Sets the ceilings that programs inherit. None is ever raised.
pub(super) fn set_limits(limits: &Limits) -> io::Result<()> {
    umask(Mode::from_raw_mode(0o022));
    // No core dumps, which hold secrets. Not 0: a kernel that pipes them to a program of the host does not look at that, but takes 1 for
    // "none", and a file of one byte is too small for it (core(5); `do_coredump` in fs/coredump.c).
    lower(Resource::Core, 1)?;
    lower(Resource::Nproc, limits.processes)?;
    for (resource, ceiling) in
        [(Resource::Nofile, limits.open_files), (Resource::Fsize, limits.file_size), (Resource::As, limits.address_space)]
    {
        if let Some(ceiling) = ceiling {
            lower(resource, ceiling)?;
        }
    }
    Ok(())
}

fn lower(resource: Resource, ceiling: u64) -> io::Result<()> {
    let least = |now: Option<u64>| Some(now.map_or(ceiling, |now| now.min(ceiling)));
    let now = getrlimit(resource);
    Ok(setrlimit(resource, Rlimit { current: least(now.current), maximum: least(now.maximum) })?)
}
