//! `rpmdb.sqlite`: the column `blob` of the table `Packages`.
//!
//! Of SQLite's file format (<https://www.sqlite.org/fileformat2.html>) only what leads from the schema to every row of one table is
//! read: table B-trees, and the overflow pages of long rows.

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

struct File<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// A page without what is reserved at its end.
    usable: usize,
}

/// Shows each package's header.
pub fn blobs(bytes: &[u8], show: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    if !bytes.starts_with(MAGIC) || bytes.len() < HEADER {
        return Err("it is no SQLite database".into());
    }
    let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        size if size.is_power_of_two() && size >= 512 => usize::from(size),
        size => return Err(format!("it is a broken SQLite database: its pages have {size} bytes")),
    };
    let usable = page_size - usize::from(bytes[20]);
    if usable < 480 {
        return Err("it is a broken SQLite database: it reserves too much of its pages".into());
    }
    let file = File { bytes, page_size, usable };
    let mut root = None;
    file.rows(1, &mut |row| {
        let columns = columns(row).ok_or_else(broken)?;
        if let [(_, kind), (_, name), _, (_, page), ..] = columns[..]
            && kind == b"table"
            && name == b"Packages"
        {
            root = Some(page.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)));
        }
        Ok(())
    })?;
    let root = root.ok_or("it has no table `Packages`, so it is no database of rpm's")?;
    file.rows(root, &mut |row| match columns(row).ok_or_else(broken)?[..] {
        // The first column is the row's number, which is not stored again.
        [_, (kind, blob)] if kind >= 12 && kind % 2 == 0 => show(blob),
        _ => Err("its table `Packages` has other columns than rpm's".into()),
    })
}

fn broken() -> String {
    "it is a broken SQLite database".into()
}

impl<'a> File<'a> {
    fn page(&self, number: usize) -> Result<&'a [u8], String> {
        let start = number.checked_sub(1).and_then(|before| before.checked_mul(self.page_size));
        let page = start.and_then(|start| self.bytes.get(start..start.checked_add(self.usable)?));
        page.ok_or_else(|| "it is a broken SQLite database: a page is missing".into())
    }

    /// Shows each row of a table, in order.
    fn rows(&self, root: usize, show: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let mut open = vec![root];
        // Each page is of one tree and occurs once; more of them is a circle.
        let mut left = self.bytes.len() / self.page_size + 1;
        while let Some(number) = open.pop() {
            left = left.checked_sub(1).ok_or("it is a broken SQLite database: its pages lead in a circle")?;
            let page = self.page(number)?;
            let header = if number == 1 { HEADER } else { 0 };
            let short = |at: usize| Some(u16::from_be_bytes(*page.get(at..)?.first_chunk()?));
            let long = |at: usize| super::big_endian(page, at).and_then(|number| usize::try_from(number).ok());
            let count = usize::from(short(header + 3).ok_or_else(broken)?);
            let kind = page[header];
            let start = header + if kind == INTERIOR { 12 } else { 8 };
            let mut below = Vec::new();
            for cell in 0..count {
                let at = usize::from(short(start + cell * 2).ok_or_else(broken)?);
                match kind {
                    INTERIOR => below.push(long(at).ok_or_else(broken)?),
                    LEAF => show(&self.payload(page, at)?)?,
                    _ => return Err("it is a broken SQLite database: a page of a table is of another kind".into()),
                }
            }
            if kind == INTERIOR {
                below.push(long(header + 8).ok_or_else(broken)?);
            }
            open.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// A row, put together from its cell and the pages that the cell leads to.
    fn payload(&self, page: &[u8], at: usize) -> Result<Vec<u8>, String> {
        let cell = page.get(at..).ok_or_else(broken)?;
        let (size, rest) = varint(cell).ok_or_else(broken)?;
        let (_, rest) = varint(rest).ok_or_else(broken)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= self.bytes.len()).ok_or_else(broken)?;
        let most = self.usable - 35;
        let local = match size <= most {
            true => size,
            false => {
                let least = (self.usable - 12) * 32 / 255 - 23;
                let here = least + (size - least) % (self.usable - 4);
                if here <= most { here } else { least }
            }
        };
        let mut payload = rest.get(..local).ok_or_else(broken)?.to_vec();
        let mut next = if local < size { super::big_endian(rest, local).ok_or_else(broken)? } else { 0 };
        while payload.len() < size {
            let page = self.page(usize::try_from(next).map_err(|_| broken())?)?;
            next = super::big_endian(page, 0).ok_or_else(broken)?;
            let part = (size - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(&page[4..4 + part]);
        }
        Ok(payload)
    }
}

/// The columns of a row: the type of each, and its bytes.
fn columns(row: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let (header, mut types) = varint(row)?;
    let header = usize::try_from(header).ok()?;
    let (mut values, length) = (row.get(header..)?, header.checked_sub(row.len() - types.len())?);
    types = types.get(..length)?;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let kind;
        (kind, types) = varint(types)?;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let value;
        (value, values) = values.split_at_checked(usize::try_from(size).ok()?)?;
        columns.push((kind, value));
    }
    Some(columns)
}

/// A number of one to nine bytes, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for at in 0..9 {
        let byte = *bytes.get(at)?;
        if at == 8 {
            return Some((number << 8 | u64::from(byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}
