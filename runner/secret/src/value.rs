//! The bytes of a secret.

use zeroize::Zeroizing;

/// Shorter values can be guessed, and hiding them would hide ordinary words.
pub const SHORTEST: usize = 8;
pub const LONGEST: usize = 64 << 10;

/// A secret's bytes: overwritten when dropped. Deliberately without `Debug`, `Display`, `Clone` and `Serialize`, so that no message, event
/// or record can hold one by accident.
pub struct Value(Zeroizing<Vec<u8>>);

/// Why bytes can't be a secret. Says nothing of them but their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is empty")]
    Empty,
    #[error("it has {0} bytes; one with less than {SHORTEST} can be guessed, and can't be hidden in what is printed")]
    Short(usize),
    #[error("it has more than {LONGEST} bytes")]
    Long,
    #[error("it holds a NUL byte, which no header and no variable can")]
    Nul,
}

impl Value {
    /// # Errors
    /// If the bytes are too few, too many, or hold a NUL.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Value, Unfit> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(Unfit::Empty),
            length if length < SHORTEST => Err(Unfit::Short(length)),
            length if length > LONGEST => Err(Unfit::Long),
            _ if bytes.contains(&0) => Err(Unfit::Nul),
            _ => Ok(Value(bytes)),
        }
    }

    /// The bytes themselves: for placing, masking and handing over.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Takes off the line's end that editors and `echo` leave.
pub(crate) fn without_final_newline(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// How a value is written at the place where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is: a header, a variable, a whole URL.
    Raw,
    /// One segment of a path, one value of a query or a form: everything but RFC 3986's unreserved characters is percent-encoded.
    Percent,
    /// The inside of a JSON string.
    Json,
}

/// Why a value can't stand where it was to be put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the secret `{0}` is not UTF-8 text, so it can't stand in JSON")]
    NotText(String),
    #[error("the secret `{0}` was not fetched")]
    NotThere(String),
}

impl Form {
    pub(crate) fn write(self, name: &str, value: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Form::Raw => out.extend_from_slice(value),
            Form::Percent => percent(value, is_unreserved, false, out),
            Form::Json => {
                let text = std::str::from_utf8(value).map_err(|_| Misfit::NotText(name.to_owned()))?;
                json(text, false, out);
            }
        }
        Ok(())
    }
}

/// RFC 3986, 2.3.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(crate) fn percent(value: &[u8], plain: impl Fn(u8) -> bool, lower: bool, out: &mut Vec<u8>) {
    let digits: &[u8; 16] = if lower { b"0123456789abcdef" } else { b"0123456789ABCDEF" };
    for byte in value {
        if plain(*byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
}

/// The inside of a JSON string (RFC 8259, 7). `ascii`: everything else as `\uXXXX` too, as some writers do.
pub(crate) fn json(text: &str, ascii: bool, out: &mut Vec<u8>) {
    let mut units = [0; 2];
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut units) {
                    out.extend(format!("\\u{unit:04x}").bytes());
                }
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}
