//! `Packages.db`, rpm's own format: pages of slots, each of which says where a package's header is (rpm's `lib/backend/ndb/rpmpkg.c`).

use super::little_endian;

const HEADER: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");
const PAGE: usize = 4096;
const SLOT_SIZE: usize = 16;
/// Blobs start at multiples of this, and have a head of this size.
const BLOCK: usize = 16;

/// Shows each package's header.
pub fn blobs(bytes: &[u8], show: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    if little_endian(bytes, 0) != Some(HEADER) {
        return Err("it is no package database of rpm's (ndb)".into());
    }
    if little_endian(bytes, 4) != Some(0) {
        return Err("it is a package database (ndb) of a version that is not known".into());
    }
    let broken = || "it is a broken package database (ndb)".to_owned();
    let number = |at: usize| little_endian(bytes, at).and_then(|number| usize::try_from(number).ok()).ok_or_else(broken);
    let slots = bytes.get(..number(12)?.checked_mul(PAGE).ok_or_else(broken)?).ok_or_else(broken)?;
    // The header takes the place of the first two slots.
    for slot in slots.chunks_exact(SLOT_SIZE).skip(2) {
        let field = |at: usize| little_endian(slot, at).and_then(|number| usize::try_from(number).ok()).ok_or_else(broken);
        let (package, block) = (field(4)?, field(8)?);
        if package == 0 || block == 0 {
            continue;
        }
        let start = block.checked_mul(BLOCK).ok_or_else(broken)?;
        if little_endian(slot, 0) != Some(SLOT) || little_endian(bytes, start) != Some(BLOB) || number(start + 4)? != package {
            return Err(broken());
        }
        let size = number(start + 12)?;
        let blob = bytes.get(start + BLOCK..).and_then(|rest| rest.get(..size)).ok_or_else(broken)?;
        show(blob)?;
    }
    Ok(())
}
