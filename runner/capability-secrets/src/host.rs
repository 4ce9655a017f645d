//! The host functions of `runner:secrets`: lift, cross, lower.

use capability::ledger::Divergence;
use capability::{Denial, LedgerError, StageState};
use wasmtime::{Error, Result};

use crate::SecretsRoom;
use crate::backend::Names;
use crate::policy::{Placeholder, Read, Rules, Sign, Signed};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-secrets;
            world secrets { import runner:secrets/secrets@0.1.0; }
        ",
        world: "runner:host-secrets/secrets",
        imports: { default: async | trappable },
    });
}

use bindings::runner::secrets::secrets as wit;

impl wit::Host for StageState {
    async fn placeholder(&mut self, name: String) -> Result<std::result::Result<String, wit::Error>> {
        let boundary = self.boundary.clone();
        let room: &mut SecretsRoom = self.room();
        let rules = Rules { grant: &room.grant, stage: &room.stage };
        match boundary.cross(&rules, Placeholder { name: name.clone() }, &Names(&room.held)).await {
            Ok(Some(placeholder)) => Ok(Ok(placeholder)),
            Ok(None) => Err(Error::msg(format!("the secret `{name}` is granted and was not planned for this stage"))),
            Err(refusal) => Ok(Err(wit::Error::Denied(lower_denial(refusal.denial()?)))),
        }
    }

    async fn read(&mut self, name: String) -> Result<std::result::Result<Vec<u8>, wit::Error>> {
        let boundary = self.boundary.clone();
        let room: &mut SecretsRoom = self.room();
        let (rules, names) = (Rules { grant: &room.grant, stage: &room.stage }, Names(&room.held));
        let recorded = match boundary.cross(&rules, Read { name: name.clone() }, &names).await {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(wit::Error::Denied(lower_denial(refusal.denial()?)))),
        };
        // the record has no bytes: what it has must be what is there
        let now = names.told(&name);
        match room.held.value(&name) {
            Some(value) if now == recorded => Ok(Ok(value.expose().to_vec())),
            Some(_) => Err(Error::new(LedgerError::Diverged(Box::new(Divergence {
                position: None,
                recorded: format!("the secret `{name}`"),
                asked: "another value of it".to_owned(),
                detail: "it was changed since the run began; run the stage anew with `runner resume --failed`".to_owned(),
            })))),
            None => Err(Error::new(LedgerError::Secret(name))),
        }
    }

    async fn sign(&mut self, name: String, password: Option<String>, payload: Vec<u8>) -> Result<std::result::Result<Vec<u8>, wit::Error>> {
        let boundary = self.boundary.clone();
        let room: &mut SecretsRoom = self.room();
        let rules = Rules { grant: &room.grant, stage: &room.stage };
        match boundary.cross(&rules, Sign { name, password, payload }, &Names(&room.held)).await {
            Ok(Signed::Signature(signature)) => Ok(Ok(signature)),
            Ok(Signed::Unusable(why)) => Ok(Err(wit::Error::Unusable(why))),
            Ok(Signed::Missing(name)) => Err(Error::new(LedgerError::Secret(name))),
            Err(refusal) => Ok(Err(wit::Error::Denied(lower_denial(refusal.denial()?)))),
        }
    }
}

fn lower_denial(denial: Denial) -> bindings::runner::boundary::types::Denial {
    bindings::runner::boundary::types::Denial {
        effect: denial.effect,
        subject: denial.subject,
        code: denial.code.into_owned(),
        reason: denial.reason,
        remedy: denial.remedy,
    }
}
