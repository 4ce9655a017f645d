//! May this stage have this of the cluster? A pure function of the grant, what is asked, and for writes what was seen. The rules are `admission`'s.

use admission::{Admission, Look, PatchKind, Refusal, Write};
use capability::{Decision, Denial, Effect, Nothing, Policy};
use secret::Held;

use crate::effect::{Change, Exec, Looking, Manner, Read, Reading, Sight};
use crate::grant::KubernetesGrant;

/// Where a request without a namespace goes if there is no grant that names one.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The grant as policy sees it, with the stage that a remedy names.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub grant: Option<&'a KubernetesGrant>,
    pub stage: &'a str,
    pub held: &'a Held,
}

impl<O: Reading> Policy<Read<O>> for Rules<'_> {
    fn decide(&self, read: &Read<O>, (): &()) -> Decision<Nothing> {
        decision(self.plain(read).and_then(|()| self.ruled(|rules| read.0.admitted(rules))))
    }
}

impl Policy<Exec> for Rules<'_> {
    fn decide(&self, exec: &Exec, (): &()) -> Decision<Nothing> {
        let input = || self.no_secret(&exec.stdin);
        decision(self.plain(exec).and_then(|()| input()).and_then(|()| self.ruled(|rules| rules.enter(&exec.target))))
    }
}

impl<M: Manner> Policy<Change<M>> for Rules<'_> {
    fn decide(&self, change: &Change<M>, seen: &Sight) -> Decision<Looking> {
        if let Err(denial) = self.plain(change) {
            return Decision::Deny(denial);
        }
        // there is nothing to decide about: it is answered with why
        if seen.fault.is_some() {
            return Decision::Allow;
        }
        let request = change.request();
        let looking = |look, held| Decision::Observe(Looking { request: request.clone(), look, held });
        match (self.ruled(|rules| rules.admit(&request, seen.scene.as_ref())), &seen.scene) {
            (Err(denial), _) => Decision::Deny(denial),
            (Ok(Admission::Granted), Some(_)) => Decision::Allow,
            // whether it was written could not be told later; of a patch that is no mere setting of values, not without what it makes
            (Ok(Admission::Granted), None) => {
                let dry_run = matches!(change.write, Write::Patch { kind: PatchKind::Json, .. });
                looking(Look { before: true, dry_run, ..Look::default() }, false)
            }
            (Ok(Admission::Look(look)), None) => looking(Look { before: true, ..look }, true),
            (Ok(Admission::Look(_)), Some(_)) => {
                Decision::Deny(Denial::new("bad-patch", "what was seen of the object does not tell what the write would do"))
            }
        }
    }
}

fn decision(decided: Result<(), Denial>) -> Decision<Nothing> {
    match decided {
        Ok(()) => Decision::Allow,
        Err(denial) => Decision::Deny(denial),
    }
}

impl Rules<'_> {
    fn ruled<T>(&self, ask: impl FnOnce(&admission::Rules) -> Result<T, Refusal>) -> Result<T, Denial> {
        let none = admission::Rules { namespace: DEFAULT_NAMESPACE.to_owned(), rules: Vec::new() };
        ask(self.grant.map_or(&none, |grant| &grant.rules)).map_err(|refusal| self.denial(refusal))
    }

    fn denial(&self, refusal: Refusal) -> Denial {
        let Refusal { code, reason, remedy } = refusal;
        let remedy = remedy.map(|lines| {
            let first = match (lines.starts_with("rules"), self.grant) {
                (true, None) => format!("namespace = \"{DEFAULT_NAMESPACE}\"\n"),
                (true, Some(_)) => "# one more of its rules\n".to_owned(),
                (false, _) => "# in the rule that speaks of it\n".to_owned(),
            };
            format!("[stage.{}.grants.kubernetes]\n{first}{lines}", self.stage)
        });
        Denial { remedy, ..Denial::new(code, reason) }
    }

    /// The cluster keeps what it is told, where others read it; so no secret has a place there.
    fn plain<E: Effect>(&self, effect: &E) -> Result<(), Denial> {
        self.no_secret(&serde_json::to_vec(effect).unwrap_or_default())
    }

    fn no_secret(&self, bytes: &[u8]) -> Result<(), Denial> {
        match self.held.within(bytes).next() {
            Some(one) => Err(Denial::new(
                "secret-place",
                format!("the secret `{}` may not be sent to a cluster, which keeps it where others read it", one.secret.name),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
