//! The secrets of a run, fetched when the first stage that uses them starts, and what one attempt holds of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use pipeline::plan::{Secret, SecretUse};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::mask::Mask;
use crate::provider::{Machine, Provider, Why, provider};
use crate::value::{Form, Misfit, Value};

/// The secrets of a run.
pub struct Secrets {
    machine: Machine,
    /// Each as it is declared: environments may have one of the same name from elsewhere.
    sources: Mutex<Vec<(Secret, Arc<Source>)>>,
    mask: Arc<Mask>,
}

struct Source {
    provider: Box<dyn Provider>,
    value: OnceCell<Arc<Value>>,
    notes: Mutex<Vec<String>>,
}

/// A secret that can't be had: the stage can't start.
#[derive(Debug, thiserror::Error)]
#[error("the secret `{name}` can't be fetched from {from}: {why}")]
pub struct FetchError {
    pub name: String,
    /// As in the pipeline file.
    pub from: String,
    pub why: Why,
}

impl Secrets {
    pub fn new(machine: Machine) -> Secrets {
        Secrets { machine, sources: Mutex::default(), mask: Arc::default() }
    }

    /// What hides them: one for the run.
    pub fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    /// What an attempt uses, fetched if nobody has yet.
    ///
    /// # Errors
    /// If one of them can't be fetched, with where from, why, and what to do.
    pub async fn hold(&self, uses: &[SecretUse]) -> Result<Held, FetchError> {
        let mut held = Held { uses: uses.to_vec(), values: BTreeMap::new(), mask: self.mask.clone(), notes: Vec::new() };
        for SecretUse { secret, .. } in uses {
            let source = self.source(secret);
            let fetched = source.value.get_or_try_init(|| self.fetch(&source)).await;
            let value = fetched.map_err(|why| FetchError { name: secret.name.clone(), from: secret.from.clone(), why })?;
            held.values.insert(secret.name.clone(), value.clone());
            held.notes.append(&mut source.notes.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(held)
    }

    fn source(&self, secret: &Secret) -> Arc<Source> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, source)) = sources.iter().find(|(known, _)| known == secret) {
            return source.clone();
        }
        let provider = provider(secret, &self.machine, &self.mask);
        let source = Arc::new(Source { provider, value: OnceCell::new(), notes: Mutex::default() });
        sources.push((secret.clone(), source.clone()));
        source
    }

    async fn fetch(&self, source: &Source) -> Result<Arc<Value>, Why> {
        keep_out_of_core_dumps();
        let fetched = source.provider.fetch().await?;
        let value = Value::new(fetched.bytes)?;
        // before anybody else has it
        self.mask.learn(&value);
        *source.notes.lock().unwrap_or_else(PoisonError::into_inner) = fetched.notes;
        Ok(Arc::new(value))
    }
}

/// From the first secret on, a crash leaves no image of this process, and others of the same user can't read its memory or environment.
/// Programs that it starts are as they were: the kernel sets this anew for each.
fn keep_out_of_core_dumps() {
    // where the kernel knows no such thing, nothing is lost by going on
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The secrets of one attempt. To the guest they are placeholders; here is what stands for them.
#[derive(Default)]
pub struct Held {
    uses: Vec<SecretUse>,
    values: BTreeMap<String, Arc<Value>>,
    mask: Arc<Mask>,
    notes: Vec<String>,
}

impl Held {
    /// Without values: for tests of policies.
    pub fn placeholders(uses: Vec<SecretUse>) -> Held {
        Held { uses, ..Held::default() }
    }

    /// With values that come from nowhere: for tests.
    pub fn with(uses: Vec<SecretUse>, values: impl IntoIterator<Item = (String, Value)>) -> Held {
        let held = Held { uses, values: values.into_iter().map(|(name, value)| (name, Arc::new(value))).collect(), ..Held::default() };
        held.values.values().for_each(|value| held.mask.learn(value));
        held
    }

    pub fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    /// What the user should know of where they came from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub fn uses(&self) -> &[SecretUse] {
        &self.uses
    }

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|value| &**value)
    }

    /// The secret whose placeholder is the whole text.
    pub fn named(&self, text: &[u8]) -> Option<&SecretUse> {
        self.uses.iter().find(|one| one.placeholder.as_bytes() == text)
    }

    /// The secrets whose placeholders stand in it.
    pub fn within<'a>(&'a self, text: &[u8]) -> impl Iterator<Item = &'a SecretUse> {
        self.uses.iter().filter(move |one| find(text, one.placeholder.as_bytes()).is_some())
    }

    pub fn stands_in(&self, text: &[u8]) -> bool {
        self.within(text).next().is_some()
    }

    /// Puts values in the places of their placeholders.
    ///
    /// # Errors
    /// If one was not fetched, or can't be written there.
    pub fn fill(&self, text: &[u8], form: Form) -> Result<Zeroizing<Vec<u8>>, Misfit> {
        // without growing, which would leave copies behind
        let longest = self.values.values().map(|value| value.expose().len()).max().unwrap_or(0);
        let found = self.uses.iter().map(|one| count(text, one.placeholder.as_bytes())).sum::<usize>();
        let mut filled = Zeroizing::new(Vec::with_capacity(text.len() + found * longest * 6));
        let mut rest = text;
        while let Some((at, one)) = self.first(rest) {
            filled.extend_from_slice(&rest[..at]);
            let value = self.value(&one.secret.name).ok_or_else(|| Misfit::NotThere(one.secret.name.clone()))?;
            form.write(&one.secret.name, value.expose(), &mut filled)?;
            rest = &rest[at + one.placeholder.len()..];
        }
        filled.extend_from_slice(rest);
        Ok(filled)
    }

    fn first(&self, text: &[u8]) -> Option<(usize, &SecretUse)> {
        let found = self.uses.iter().filter_map(|one| Some((find(text, one.placeholder.as_bytes())?, one)));
        found.min_by_key(|(at, _)| *at)
    }
}

/// What the guest wrote as `Basic` credentials (RFC 7617): it has encoded a text that holds a placeholder.
pub fn basic(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let encoded = encoded.trim_ascii();
    STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()
}

/// The header of `Basic` credentials.
pub fn basic_header(credentials: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut header = Zeroizing::new(Vec::with_capacity(credentials.len() * 4 / 3 + 16));
    header.extend_from_slice(b"Basic ");
    header.extend_from_slice(Zeroizing::new(STANDARD.encode(credentials)).as_bytes());
    header
}

/// The secret's name if the whole text has the form of a placeholder: `__secret-<name>-<32 hexadecimal digits>__`.
pub fn placeholder_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix(BEGIN)?.strip_suffix("__")?;
    let (name, random) = inner.rsplit_once('-')?;
    (!name.is_empty() && random.len() == 32 && random.bytes().all(|b| b.is_ascii_hexdigit())).then_some(name)
}

/// Whether a placeholder may stand in it, whichever it is.
pub fn may_hold_placeholder(text: &[u8]) -> bool {
    find(text, BEGIN.as_bytes()).is_some()
}

const BEGIN: &str = "__secret-";

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() || text.len() < what.len() {
        return None;
    }
    text.windows(what.len()).position(|window| window == what)
}

fn count(text: &[u8], what: &[u8]) -> usize {
    if what.is_empty() { 0 } else { text.windows(what.len()).filter(|window| *window == what).count() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::{machine, secret, used};

    fn held(value: &str) -> Held {
        Held::with(vec![used("token", &[])], [("token".to_owned(), Value::new(value.as_bytes().to_vec()).unwrap())])
    }

    #[test]
    fn values_are_written_as_their_place_needs() {
        let held = held("a\"b/c d\u{e4}&");
        let placeholder = held.uses()[0].placeholder.clone();
        let fill =
            |text: &str, form| String::from_utf8(held.fill(text.replace('$', &placeholder).as_bytes(), form).unwrap().to_vec()).unwrap();
        assert_eq!(fill("Bearer $", Form::Raw), "Bearer a\"b/c d\u{e4}&");
        assert_eq!(fill("/bot$/x/$", Form::Percent), "/bota%22b%2Fc%20d%C3%A4%26/x/a%22b%2Fc%20d%C3%A4%26");
        assert_eq!(fill("{\"a\":\"$\"}", Form::Json), "{\"a\":\"a\\\"b/c d\u{e4}&\"}");
        assert_eq!(fill("nothing", Form::Raw), "nothing");
        assert!(held.stands_in(format!("x{placeholder}y").as_bytes()));
        assert!(!held.stands_in(&placeholder.as_bytes()[1..]));
        assert_eq!(held.named(placeholder.as_bytes()).unwrap().secret.name, "token");
        let bytes = Held::with(vec![used("token", &[])], [("token".to_owned(), Value::new(vec![0xff; 9]).unwrap())]);
        assert!(matches!(bytes.fill(placeholder.as_bytes(), Form::Json), Err(Misfit::NotText(_))));
        assert!(matches!(Held::placeholders(vec![used("token", &[])]).fill(placeholder.as_bytes(), Form::Raw), Err(Misfit::NotThere(_))));
    }

    #[test]
    fn placeholders_are_known_by_their_form() {
        assert_eq!(placeholder_name("__secret-a-b_c-0123456789abcdef0123456789abcdef__"), Some("a-b_c"));
        for other in [
            "",
            "__secret-a__",
            "__secret-a-0123__",
            "x__secret-a-0123456789abcdef0123456789abcdef__",
            "__secret--0123456789abcdef0123456789abcdef__",
        ] {
            assert_eq!(placeholder_name(other), None, "{other}");
        }
        assert!(may_hold_placeholder(b"a __secret-x"));
    }

    #[test]
    fn basic_credentials_are_opened_and_closed() {
        let header = format!("basic {}", STANDARD.encode("user:pass"));
        assert_eq!(basic(header.as_bytes()).unwrap(), b"user:pass");
        assert_eq!(&**basic_header(b"user:pass"), b"Basic dXNlcjpwYXNz");
        assert_eq!(basic(b"Bearer x"), None);
        assert_eq!(basic(b"Basic ***"), None);
    }

    #[tokio::test]
    async fn a_secret_is_fetched_once_and_from_then_on_hidden() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "first value\n").unwrap();
        let secrets = Secrets::new(machine(folder.path()));
        let from = |name: &str, from: &str| SecretUse { secret: secret(name, from, &[]), ..used(name, &[]) };
        assert!(secrets.mask().is_empty());
        let held = secrets.hold(&[from("token", "file:token")]).await.unwrap();
        assert_eq!(held.value("token").unwrap().expose(), b"first value");
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
        assert_eq!(held.notes().len(), 1);
        assert!(secrets.mask().hides(b"the first value it is"));
        std::fs::write(folder.path().join("token"), "second value\n").unwrap();
        let again = secrets.hold(&[from("token", "file:token")]).await.unwrap();
        assert_eq!(again.value("token").unwrap().expose(), b"first value");
        assert!(again.notes().is_empty());
        // one of the same name from elsewhere is another one
        let other = secrets.hold(&[from("token", "env:TOKEN")]).await.unwrap();
        assert_eq!(other.value("token").unwrap().expose(), b"value-of-TOKEN");
        let error = secrets.hold(&[from("other", "env:MISSING")]).await.err().unwrap().to_string();
        assert_eq!(
            error,
            "the secret `other` can't be fetched from env:MISSING: the variable `MISSING` is not set; set it where the runner is started"
        );
    }

    #[tokio::test]
    async fn values_have_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let fetch = async |bytes: Vec<u8>| {
            std::fs::write(folder.path().join("token"), bytes).unwrap();
            let secrets = Secrets::new(machine(Path::new(folder.path())));
            secrets
                .hold(&[SecretUse { secret: secret("token", "file:token", &[]), ..used("token", &[]) }])
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert!(fetch(b"1234567".to_vec()).await.unwrap_err().contains("it has 7 bytes"));
        assert!(fetch(b"1234567\n".to_vec()).await.unwrap_err().contains("it has 7 bytes"));
        assert!(fetch(Vec::new()).await.unwrap_err().contains("it is empty"));
        assert!(fetch(b"1234567\0".to_vec()).await.unwrap_err().contains("NUL"));
        assert!(fetch(vec![b'x'; 70_000]).await.unwrap_err().contains("more than 65536 bytes"));
        assert_eq!(fetch(vec![b'x'; 65_536]).await, Ok(()));
    }
}
