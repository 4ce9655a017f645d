//! What there is to know of a secret without its bytes: its placeholder, a digest, and signatures.

use capability::{Backend, Nothing, Permitted};
use secret::Held;

use crate::policy::{Placeholder, Read, Sign, Signed, Told};

pub struct Names<'a>(pub &'a Held);

impl Names<'_> {
    /// What tells the bytes that are there from others. `None` where they are not there: in an offline replay.
    pub fn told(&self, name: &str) -> Option<Told> {
        let one = self.0.uses().iter().find(|one| one.secret.name == name)?;
        let key = blake3::hash(one.placeholder.as_bytes());
        let digest = blake3::keyed_hash(key.as_bytes(), self.0.value(name)?.expose());
        Some(Told { digest: digest.to_hex().to_string() })
    }
}

impl Backend<Read> for Names<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Read>) -> Option<Told> {
        self.told(&permitted.effect().name)
    }
}

impl Backend<Placeholder> for Names<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Placeholder>) -> Option<String> {
        let name = &permitted.effect().name;
        self.0.uses().iter().find(|one| one.secret.name == *name).map(|one| one.placeholder.clone())
    }
}

impl Backend<Sign> for Names<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Sign>) -> Signed {
        let Sign { name, password, payload } = permitted.effect();
        let Some(key) = self.0.value(name) else { return Signed::Missing(name.clone()) };
        let password = match password {
            None => None,
            Some(password) => match self.0.value(password) {
                None => return Signed::Missing(password.clone()),
                found => found,
            },
        };
        match secret::sign::sign(key, password, payload) {
            Ok(signature) => Signed::Signature(signature),
            Err(why) => Signed::Unusable(format!("the secret `{name}` can't sign: {why}")),
        }
    }
}
