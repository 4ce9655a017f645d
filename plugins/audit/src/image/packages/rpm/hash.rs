//! `Packages`, a hash of Berkeley DB: packages' headers in chains of overflow pages (Berkeley DB's `dbinc/db_page.h`).
//!
//! The pages are walked in the order of the file, since every header is wanted and none is looked up. What has been deleted is in no
//! page's index.

const MAGIC: u32 = 0x0006_1561;
const PAGE_HEADER: usize = 26;
/// Kinds of pages.
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
/// Kinds of items on a page.
const KEY_DATA: u8 = 1;
const OFF_PAGE: u8 = 3;

/// Shows each package's header.
pub fn blobs(bytes: &[u8], show: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let big = match bytes.get(12..).and_then(|rest| rest.first_chunk()) {
        Some(magic) if u32::from_le_bytes(*magic) == MAGIC => false,
        Some(magic) if u32::from_be_bytes(*magic) == MAGIC => true,
        _ => return Err("it is no hash of Berkeley DB".into()),
    };
    let broken = || "it is a broken hash of Berkeley DB".to_owned();
    let long = |bytes: &[u8], at: usize| {
        let number = if big { super::big_endian(bytes, at) } else { super::little_endian(bytes, at) };
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(broken)
    };
    let short = |bytes: &[u8], at: usize| {
        let two = *bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(broken)?;
        Ok::<_, String>(usize::from(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }))
    };
    let page_size = long(bytes, 20)?;
    if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
        return Err(broken());
    }
    if bytes.get(24).is_some_and(|encryption| *encryption != 0) {
        return Err("it is encrypted".into());
    }
    for page in bytes.chunks_exact(page_size).skip(1).filter(|page| matches!(page[25], HASH | HASH_UNSORTED)) {
        let count = short(page, 20)?;
        // Keys and values by turns.
        for index in (1..count).step_by(2) {
            let at = short(page, PAGE_HEADER + index * 2)?;
            let item = page.get(at..).filter(|item| !item.is_empty()).ok_or_else(broken)?;
            match item[0] {
                OFF_PAGE => {
                    let size = long(item, 8)?;
                    if size > bytes.len() {
                        return Err(broken());
                    }
                    show(&chain(bytes, page_size, long(item, 4)?, size, &long, &short)?)?;
                }
                // Items fill a page from its end, so one ends where the one before it starts.
                KEY_DATA => {
                    let end = short(page, PAGE_HEADER + (index - 1) * 2)?;
                    let value = page.get(at + 1..end).ok_or_else(broken)?;
                    // Under the key 0 rpm keeps a counter of four bytes.
                    if value.len() > 4 {
                        show(value)?;
                    }
                }
                _ => return Err("it is a hash of Berkeley DB with values that rpm does not write".into()),
            }
        }
    }
    Ok(())
}

type Number<'a> = &'a dyn Fn(&[u8], usize) -> Result<usize, String>;

/// A value that is kept in pages of its own.
fn chain(bytes: &[u8], page_size: usize, first: usize, size: usize, long: Number<'_>, short: Number<'_>) -> Result<Vec<u8>, String> {
    let broken = || "it is a broken hash of Berkeley DB: a value is cut off".to_owned();
    let mut value = Vec::new();
    let mut number = first;
    while value.len() < size {
        let start = number.checked_mul(page_size).ok_or_else(broken)?;
        let page = bytes.get(start..).and_then(|rest| rest.get(..page_size)).filter(|page| page[25] == OVERFLOW).ok_or_else(broken)?;
        let part = page[PAGE_HEADER..].get(..short(page, 22)?).filter(|part| !part.is_empty()).ok_or_else(broken)?;
        value.extend_from_slice(part);
        number = long(page, 16)?;
    }
    value.truncate(size);
    Ok(value)
}
