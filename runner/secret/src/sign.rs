//! Signatures with a key that stays here: ECDSA on P-256 with SHA-256, as cosign and its verifiers use it.
//!
//! A key is a PEM: PKCS#8 (`PRIVATE KEY`), SEC1 (`EC PRIVATE KEY`), or what `cosign generate-key-pair` writes
//! (`ENCRYPTED SIGSTORE PRIVATE KEY`: scrypt and NaCl's secretbox around a PKCS#8 key). Signing is deterministic (RFC 6979), so that the same
//! key and bytes have the same signature, and needs no randomness. Deliberately absent: other curves and RSA, which nobody has asked for, and what is
//! signed (that is the stage's).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use p256::SecretKey;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use zeroize::Zeroizing;

use crate::value::Value;

/// More than a signed document ever is; a stage signs the digest of what is larger.
pub const LARGEST_PAYLOAD: usize = 64 << 10;
/// So much memory and work a key file may ask for before its password is known to be right (cosign: 2^16, 8, 1).
const MOST_SCRYPT: (u8, u32, u32) = (18, 8, 4);

/// Why a secret can't sign. Says nothing of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("it is no private key in PEM: make one with `cosign generate-key-pair` or `openssl ecparam -name prime256v1 -genkey -noout`")]
    NotPem,
    #[error("it is no key of the curve P-256 (prime256v1), which is the only one that can sign here")]
    NotP256,
    #[error("the key is encrypted, and no password was named")]
    Locked,
    #[error("the password does not open the key")]
    WrongPassword,
    #[error("the key is encrypted in a way that this runner does not know; `cosign generate-key-pair` makes keys that it does")]
    UnknownCipher,
    #[error("there are {0} bytes to sign, and {LARGEST_PAYLOAD} are the most: sign a digest of them")]
    TooLong(usize),
}

/// The signature in ASN.1 DER. `password` opens an encrypted key, and is not looked at otherwise.
///
/// # Errors
/// If the secret is no key that can sign, or the payload is too long.
pub fn sign(key: &Value, password: Option<&Value>, payload: &[u8]) -> Result<Vec<u8>, Unsigned> {
    if payload.len() > LARGEST_PAYLOAD {
        return Err(Unsigned::TooLong(payload.len()));
    }
    let signature: DerSignature = signing_key(key, password)?.sign(payload);
    Ok(signature.as_bytes().to_vec())
}

fn signing_key(key: &Value, password: Option<&Value>) -> Result<SigningKey, Unsigned> {
    let text = std::str::from_utf8(key.expose()).map_err(|_| Unsigned::NotPem)?.trim();
    let label = text.lines().find_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")).ok_or(Unsigned::NotPem)?;
    let key = match label {
        "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
            let sealed = body(text).ok_or(Unsigned::NotPem)?;
            let der = open(&sealed, password.ok_or(Unsigned::Locked)?)?;
            SecretKey::from_pkcs8_der(&der).map_err(|_| Unsigned::NotP256)?
        }
        "PRIVATE KEY" => SecretKey::from_pkcs8_der(&body(text).ok_or(Unsigned::NotPem)?).map_err(|_| Unsigned::NotP256)?,
        // openssl writes the parameters of the curve in front of it, as a block of their own
        "EC PARAMETERS" | "EC PRIVATE KEY" => {
            let der = text.find("-----BEGIN EC PRIVATE KEY-----").and_then(|at| body(&text[at..])).ok_or(Unsigned::NotPem)?;
            SecretKey::from_sec1_der(&der).map_err(|_| Unsigned::NotP256)?
        }
        "ENCRYPTED PRIVATE KEY" => return Err(Unsigned::UnknownCipher),
        _ => return Err(Unsigned::NotPem),
    };
    Ok(SigningKey::from(key))
}

/// The bytes between the first header and its footer. Header fields (RFC 1421) mean an encryption that is none of ours, and are no base64.
fn body(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut encoded = Zeroizing::new(String::with_capacity(pem.len()));
    let mut lines = pem.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN ")).skip(1);
    loop {
        match lines.next()? {
            line if line.starts_with("-----END ") => break,
            line => encoded.push_str(line),
        }
    }
    STANDARD.decode(encoded.as_bytes()).ok().map(Zeroizing::new)
}

/// Opens what go-securesystemslib's `encrypted` package sealed.
fn open(sealed: &[u8], password: &Value) -> Result<Zeroizing<Vec<u8>>, Unsigned> {
    let sealed: serde_json::Value = serde_json::from_slice(sealed).map_err(|_| Unsigned::NotPem)?;
    let text = |pointer: &str| sealed.pointer(pointer).and_then(serde_json::Value::as_str);
    let bytes = |pointer: &str| text(pointer).and_then(|text| STANDARD.decode(text).ok()).ok_or(Unsigned::NotPem);
    if text("/kdf/name") != Some("scrypt") || text("/cipher/name") != Some("nacl/secretbox") {
        return Err(Unsigned::UnknownCipher);
    }
    let number = |name: &str| sealed.pointer(&format!("/kdf/params/{name}")).and_then(serde_json::Value::as_u64).ok_or(Unsigned::NotPem);
    let rounds = number("N")?;
    let small = |name: &str| number(name).and_then(|number| u32::try_from(number).map_err(|_| Unsigned::UnknownCipher));
    let (log, r, p) = (rounds.trailing_zeros() as u8, small("r")?, small("p")?);
    if !rounds.is_power_of_two() || log > MOST_SCRYPT.0 || r > MOST_SCRYPT.1 || p > MOST_SCRYPT.2 {
        return Err(Unsigned::UnknownCipher);
    }
    let params = scrypt::Params::new(log, r, p, 32).map_err(|_| Unsigned::UnknownCipher)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.expose(), &bytes("/kdf/salt")?, &params, &mut key[..]).map_err(|_| Unsigned::UnknownCipher)?;
    let nonce: [u8; 24] = bytes("/cipher/nonce")?.try_into().map_err(|_| Unsigned::NotPem)?;
    let cipher = crypto_secretbox::XSalsa20Poly1305::new((&*key).into());
    let opened = cipher.decrypt((&nonce).into(), bytes("/ciphertext")?.as_slice()).map_err(|_| Unsigned::WrongPassword)?;
    Ok(Zeroizing::new(opened))
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier;
    use p256::ecdsa::{Signature, VerifyingKey};
    use p256::pkcs8::{EncodePrivateKey, LineEnding};

    use super::*;

    fn value(text: impl AsRef<[u8]>) -> Value {
        Value::new(text.as_ref().to_vec()).unwrap()
    }

    fn secret_key() -> SecretKey {
        SecretKey::from_slice(&[7; 32]).unwrap()
    }

    /// What cosign writes, with fewer rounds.
    fn sealed(password: &str, kdf: &str, rounds: u64) -> String {
        let der = secret_key().to_pkcs8_der().unwrap();
        let (salt, nonce) = ([1; 32], [2; 24]);
        let mut key = [0; 32];
        scrypt::scrypt(password.as_bytes(), &salt, &scrypt::Params::new(10, 8, 1, 32).unwrap(), &mut key).unwrap();
        let cipher = crypto_secretbox::XSalsa20Poly1305::new((&key).into());
        let ciphertext = cipher.encrypt((&nonce).into(), der.as_bytes()).unwrap();
        let json = serde_json::json!({
            "kdf": { "name": kdf, "params": { "N": rounds, "r": 8, "p": 1 }, "salt": STANDARD.encode(salt) },
            "cipher": { "name": "nacl/secretbox", "nonce": STANDARD.encode(nonce) },
            "ciphertext": STANDARD.encode(ciphertext),
        });
        let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(json.to_string()))
    }

    #[test]
    fn every_form_of_a_key_signs_what_its_public_key_verifies() {
        let pkcs8 = secret_key().to_pkcs8_pem(LineEnding::LF).unwrap();
        let sec1 = secret_key().to_sec1_pem(LineEnding::LF).unwrap();
        let parameters = format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}", &*sec1);
        let password = value("correct horse");
        let mut signatures = Vec::new();
        for pem in [pkcs8.to_string(), sec1.to_string(), parameters, sealed("correct horse", "scrypt", 1024)] {
            signatures.push(sign(&value(&pem), Some(&password), b"payload").unwrap());
        }
        assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]), "signing is deterministic");
        let public = VerifyingKey::from(&SigningKey::from(secret_key()));
        let signature = Signature::from_der(&signatures[0]).unwrap();
        assert!(public.verify(b"payload", &signature).is_ok());
        assert!(public.verify(b"another", &signature).is_err());
    }

    #[test]
    fn what_cannot_sign_says_why() {
        let password = value("correct horse");
        let other_curve =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTEx\n-----END PRIVATE KEY-----\n";
        for (pem, password, expected) in [
            ("s3cr3t-s3cr3t".to_owned(), None, Unsigned::NotPem),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_owned(), None, Unsigned::NotPem),
            ("-----BEGIN PRIVATE KEY-----\n****\n-----END PRIVATE KEY-----".to_owned(), None, Unsigned::NotPem),
            ("-----BEGIN PRIVATE KEY-----\nAAAA".to_owned(), None, Unsigned::NotPem),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----".to_owned(), None, Unsigned::UnknownCipher),
            (other_curve.to_owned(), None, Unsigned::NotP256),
            (sealed("correct horse", "scrypt", 1024), None, Unsigned::Locked),
            (sealed("another one", "scrypt", 1024), Some(&password), Unsigned::WrongPassword),
            (sealed("correct horse", "argon2", 1024), Some(&password), Unsigned::UnknownCipher),
            // a file that wants gigabytes is not given them
            (sealed("correct horse", "scrypt", 1 << 40), Some(&password), Unsigned::UnknownCipher),
        ] {
            assert_eq!(sign(&value(&pem), password, b"payload"), Err(expected), "{pem}");
        }
        let key = value(secret_key().to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes());
        assert_eq!(sign(&key, None, &vec![0; LARGEST_PAYLOAD + 1]), Err(Unsigned::TooLong(LARGEST_PAYLOAD + 1)));
    }
}
