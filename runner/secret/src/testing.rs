//! What the tests of this crate share.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use pipeline::plan::{Secret, SecretUse};

use crate::provider::{Client, Machine, Request, Response};

struct Nobody;

impl Client for Nobody {
    fn send(&self, _: Request) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
        Box::pin(std::future::ready(Err("nobody is there".to_owned())))
    }
}

/// Every variable is set but `MISSING`.
pub fn machine(root: &Path) -> Machine {
    let env = |name: &str| match name {
        "MISSING" => None,
        "ACTIONS_ID_TOKEN_REQUEST_URL" => Some("https://github.example/token?v=1".into()),
        name => Some(format!("value-of-{name}").into()),
    };
    Machine { env, root: root.to_owned(), client: Arc::new(Nobody) }
}

pub fn secret(name: &str, from: &str, to: &[&str]) -> Secret {
    Secret {
        name: name.to_owned(),
        from: from.to_owned(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        audience: None,
        scope: None,
        token: None,
    }
}

pub fn used(name: &str, to: &[&str]) -> SecretUse {
    SecretUse {
        secret: secret(name, "env:TOKEN", to),
        placeholder: format!("__secret-{name}-0123456789abcdef0123456789abcdef__"),
        read: false,
    }
}
