//! Looks for a secret in everything that a run left, in all the forms that it may have.

use std::path::Path;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The forms of a secret, found out without the runner's own code.
pub struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    pub fn of(secrets: &[&str]) -> Needles {
        let mut needles = Vec::new();
        for secret in secrets {
            let mut add = |form: &str, bytes: Vec<u8>| needles.push((format!("{secret} {form}"), bytes));
            add("as it is", secret.as_bytes().to_vec());
            add("escaped for JSON", serde_json::to_string(secret).expect("text").trim_matches('"').as_bytes().to_vec());
            add("in hexadecimal", secret.bytes().flat_map(|b| format!("{b:02x}").into_bytes()).collect());
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let percent = secret.bytes().flat_map(|b| if plain(b) { vec![b] } else { format!("%{b:02X}").into_bytes() });
            add("percent-encoded", percent.collect());
            for letters in [STANDARD, URL_SAFE] {
                for shift in 0..3 {
                    add("in base64", base64(letters, shift, secret.as_bytes()));
                }
            }
        }
        Needles(needles)
    }

    /// What of it is in there.
    pub fn within(&self, bytes: &[u8]) -> Option<&str> {
        use bstr::ByteSlice;
        self.0.iter().find(|(_, needle)| bytes.find(needle).is_some()).map(|(what, _)| what.as_str())
    }

    /// Fails if a file below the folder holds any of it.
    #[track_caller]
    pub fn nowhere_below(&self, folder: &Path) -> usize {
        let (mut folders, mut seen) = (vec![folder.to_owned()], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    seen += 1;
                    assert_eq!(self.within(&bytes), None, "{}", path.display());
                    assert_eq!(self.within(path.to_string_lossy().as_bytes()), None, "{}", path.display());
                }
            }
        }
        seen
    }
}

/// The letters that the bytes decide on their own, after so many others.
fn base64(letters: &[u8; 64], shift: usize, bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = std::iter::repeat_n(&0, shift).chain(bytes).flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let whole = bits.chunks_exact(6).skip((shift * 8).div_ceil(6));
    whole.map(|six| letters[six.iter().fold(0, |number, bit| number << 1 | usize::from(*bit))]).collect()
}
