//! The server name at the beginning of a TLS connection (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! Only as much is read as it takes to find it. Deliberately absent: everything else of TLS.

/// The ClientHello of today is under 2 KiB; one that does not fit here is refused.
pub const LARGEST: usize = 32 << 10;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// Not enough of them yet.
    More,
    /// No TLS: nothing to check.
    Other,
    /// TLS, with the server name that it asks for.
    Hello(Option<String>),
    /// Begins like TLS, and can't be read: a server might read it otherwise.
    Unreadable,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// 2^14 and what encryption may add (RFC 8446, 5.2).
const LONGEST_RECORD: usize = (16 << 10) + 256;

pub fn first(bytes: &[u8]) -> First {
    match bytes {
        [] | [HANDSHAKE] => return First::More,
        // the major version has been 3 since SSL 3
        [HANDSHAKE, 3, ..] => {}
        _ => return First::Other,
    }
    // a hello may be cut into several records
    let (mut rest, mut message) = (bytes, Vec::new());
    loop {
        if let Some(length) = message.get(1..4) {
            let length = usize::from(u16::from_be_bytes([length[1], length[2]])) | usize::from(length[0]) << 16;
            if message[0] != CLIENT_HELLO || length > LARGEST {
                return First::Unreadable;
            }
            if let Some(body) = message.get(4..4 + length) {
                return hello(body).map_or(First::Unreadable, First::Hello);
            }
        }
        let Some((head, after)) = rest.split_at_checked(5) else { return First::More };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] != HANDSHAKE || head[1] != 3 || length == 0 || length > LONGEST_RECORD {
            return First::Unreadable;
        }
        // of the last record what is there will do, if the hello ends in it
        let part = &after[..length.min(after.len())];
        message.extend_from_slice(part);
        rest = &after[part.len()..];
        if message.len() > LARGEST + 4 {
            return First::Unreadable;
        }
    }
}

/// The name that a hello asks for; the outer `None` if it is not well-formed.
fn hello(body: &[u8]) -> Option<Option<String>> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    let session = body.byte()?;
    body.take(session.into())?;
    let suites = body.number()?;
    body.take(suites)?;
    let compressions = body.byte()?;
    body.take(compressions.into())?;
    if body.0.is_empty() {
        return Some(None);
    }
    let length = body.number()?;
    let mut extensions = Reader(body.take(length)?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let length = extensions.number()?;
        let content = extensions.take(length)?;
        if kind == 0 && name.replace(server_name(content)?).is_some() {
            return None;
        }
    }
    body.0.is_empty().then_some(name)
}

/// The one name of the extension: a second one could be the one that the server takes.
fn server_name(content: &[u8]) -> Option<String> {
    let mut content = Reader(content);
    let length = content.number()?;
    let mut list = Reader(content.take(length)?);
    let kind = list.byte()?;
    let length = list.number()?;
    let name = list.take(length)?;
    if kind != 0 || !list.0.is_empty() || !content.0.is_empty() {
        return None;
    }
    String::from_utf8(name.to_vec()).ok().filter(|name| name.is_ascii() && !name.is_empty())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Option<usize> {
        self.take(2).map(|taken| usize::from(u16::from_be_bytes([taken[0], taken[1]])))
    }
}

/// A real hello, for tests.
#[cfg(test)]
pub fn hello_for(name: &str) -> Vec<u8> {
    use std::sync::Arc;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_hello_names_its_server() {
        let bytes = hello_for("registry.example");
        assert_eq!(first(&bytes), First::Hello(Some("registry.example".to_owned())));
        // an address is never named (RFC 6066)
        assert_eq!(first(&hello_for("127.0.0.1")), First::Hello(None));
        for end in 0..bytes.len() {
            assert_eq!(first(&bytes[..end]), First::More, "{end} bytes");
        }
    }

    #[test]
    fn a_hello_cut_into_records_is_put_together() {
        let bytes = hello_for("registry.example");
        let mut cut = Vec::new();
        for piece in bytes[5..].chunks(7) {
            cut.extend_from_slice(&[HANDSHAKE, 3, 1, 0, piece.len() as u8]);
            cut.extend_from_slice(piece);
        }
        assert_eq!(first(&cut), First::Hello(Some("registry.example".to_owned())));
    }

    #[test]
    fn what_is_not_tls_is_let_be_and_what_pretends_is_not() {
        assert_eq!(first(b""), First::More);
        for other in [&b"SSH-2.0-x\r\n"[..], b"GET / HTTP/1.1\r\n", &[HANDSHAKE, 2], &[0x80, 0x2e, 1, 3, 1]] {
            assert_eq!(first(other), First::Other, "{other:?}");
        }
        let real = hello_for("registry.example");
        let changed = |at: usize, to: u8| {
            let mut bytes = real.clone();
            bytes[at] = to;
            first(&bytes)
        };
        // another message than a hello; a hello of another length than it says; a record of another kind in its middle
        assert_eq!(changed(5, 2), First::Unreadable);
        assert_eq!(changed(8, real[8].wrapping_sub(1)), First::Unreadable);
        assert_eq!(first(&[&[HANDSHAKE, 3, 1, 0, 2, 1, 0][..], &[23, 3, 3, 0, 1, 0]].concat()), First::Unreadable);
        assert_eq!(first(&[HANDSHAKE, 3, 1, 0, 0]), First::Unreadable);
        assert_eq!(first(&[HANDSHAKE, 3, 1, 0xff, 0xff]), First::Unreadable);
        assert_eq!(first(&[HANDSHAKE, 3, 1, 0, 4, 1, 0xff, 0, 0]), First::Unreadable);
    }

    #[test]
    fn two_names_are_unreadable() {
        let one = [0, 0, 4, b'g', b'o', b'o', b'd'];
        let two = [&one[..], &[0, 0, 4, b'e', b'v', b'i', b'l']].concat();
        let with = |names: &[u8], times: usize| {
            let content = [&(names.len() as u16).to_be_bytes()[..], names].concat();
            let extension = [&[0, 0][..], &(content.len() as u16).to_be_bytes(), &content].concat().repeat(times);
            let body = [&[3, 3][..], &[0; 32], &[0, 0, 2, 0x13, 1, 1, 0], &(extension.len() as u16).to_be_bytes(), &extension].concat();
            let message = [&[CLIENT_HELLO, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
            first(&[&[HANDSHAKE, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat())
        };
        assert_eq!(with(&one, 1), First::Hello(Some("good".to_owned())));
        assert_eq!(with(&two, 1), First::Unreadable);
        assert_eq!(with(&one, 2), First::Unreadable);
        assert_eq!(with(&[1, 0, 1, b'x'], 1), First::Unreadable);
    }
}
