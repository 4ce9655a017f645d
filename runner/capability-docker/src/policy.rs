//! May this stage have this of the engine? A pure function of the grant, the stage's files, and what is asked.
//!
//! A denial comes before the engine hears of anything. What an engine could be asked and no grant can allow (a privileged container, a host's
//! namespace, a device, one more capability, a socket, a volume of others) has no field in any effect, so nothing is decided about it here.

pub mod build;

use std::collections::BTreeSet;

use capability::denial::toml_string;
use capability::state::{SCRATCH, WORKSPACE};
use capability::{Decision, Denial, Nothing, Policy};
use pipeline::ceilings::Ceilings;
use pipeline::plan::SecretUse;
use pipeline::secret::Destination;
use secret::Held;

use crate::effect::{Copy, Exec, ImageOperation, Look, Network, OnImages, Run, Sight, Sights, State, Way};
use crate::grant::{self, DockerGrant, Operation};
use crate::places::{Access, Place, View};
use crate::reference::{Reference, Version};

/// The grant as policy sees it, with the stage that a remedy names.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub grant: Option<&'a DockerGrant>,
    pub stage: &'a str,
    pub view: View<'a>,
    pub held: &'a Held,
    /// Who the runner runs as.
    pub uid: u32,
}

type Verdict<T = ()> = Result<T, Denial>;

/// Targets that would cover what the kernel, the engine or the host puts there.
const TAKEN: [&str; 8] = ["/proc", "/sys", "/dev", "/run/runner", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv"];

impl Policy<Run> for Rules<'_> {
    fn decide(&self, run: &Run, seen: &Sights) -> Decision<Look> {
        let decided = self.container(run).and_then(|places| match (&seen.0, places.is_empty()) {
            (None, false) => Ok(Some(Look(places))),
            (seen, _) => sources(run.mounts.iter().map(|mount| mount.source.as_str()), seen.as_deref().unwrap_or_default()).map(|()| None),
        });
        decision(decided)
    }
}

impl Policy<Exec> for Rules<'_> {
    fn decide(&self, exec: &Exec, (): &()) -> Decision<Nothing> {
        let decided = self.granted().and_then(|_| {
            absolute("the working directory", exec.directory.as_deref())?;
            self.variables(&exec.env, None)?;
            self.no_secret(exec.arguments.iter().map(String::as_str), "the command line")
        });
        match decided {
            Ok(()) => Decision::Allow,
            Err(denial) => Decision::Deny(denial),
        }
    }
}

impl Policy<State> for Rules<'_> {
    fn decide(&self, _: &State, (): &()) -> Decision<Nothing> {
        match self.granted() {
            Ok(_) => Decision::Allow,
            Err(denial) => Decision::Deny(denial),
        }
    }
}

impl Policy<Copy> for Rules<'_> {
    fn decide(&self, copy: &Copy, seen: &Sights) -> Decision<Look> {
        decision(self.copy(copy, seen))
    }
}

impl<O: ImageOperation> Policy<OnImages<O>> for Rules<'_> {
    fn decide(&self, effect: &OnImages<O>, seen: &Sights) -> Decision<Look> {
        decision(self.images(&effect.0, seen))
    }
}

fn decision<Q>(decided: Verdict<Option<Q>>) -> Decision<Q> {
    match decided {
        Ok(None) => Decision::Allow,
        Ok(Some(question)) => Decision::Observe(question),
        Err(denial) => Decision::Deny(denial),
    }
}

impl Rules<'_> {
    fn granted(&self) -> Verdict<&DockerGrant> {
        self.grant.ok_or_else(|| {
            Denial::new("not-granted", "the stage has no grant for Docker").remedy(self.stage, "docker = { run = [\"image:tag\"] }")
        })
    }

    /// A container: all but what is at the sources of its mounts, which are the answer.
    fn container(&self, run: &Run) -> Verdict<Vec<Place>> {
        self.image(&run.image, &[Operation::Run])?;
        let grant = self.granted()?;
        self.ceilings(grant, run)?;
        self.network(grant, run.network)?;
        if let Some(user) = &run.user {
            self.user(user, run)?;
        }
        absolute("the working directory", run.directory.as_deref())?;
        self.variables(&run.env, Some(&run.image))?;
        let words = run.entrypoint.iter().chain(&run.arguments).chain(&run.directory).chain(&run.name).chain(&run.user);
        self.no_secret(words.map(String::as_str), "the command line")?;
        if let Some(one) = self.held.within(&run.stdin).next() {
            return Err(misplaced(one, "the container's input"));
        }
        let (mut places, mut targets) = (Vec::new(), BTreeSet::new());
        for mount in &run.mounts {
            let target = target(&mount.target)?;
            if !targets.insert(target) {
                return Err(Denial::new("mount-place", format!("two mounts have the target {}", mount.target.escape_debug())));
            }
            places.push(self.source(&mount.source, mount.writable)?);
        }
        Ok(places)
    }

    /// Whether one of the operations is granted for an image.
    fn image(&self, text: &str, operations: &[Operation]) -> Verdict<Reference> {
        let reference = Reference::parse(text).map_err(|mistake| Denial::new("not-granted", mistake.to_string()))?;
        if let Some(one) = self.held.within(text.as_bytes()).next() {
            return Err(misplaced(one, "an image's name"));
        }
        if self.grant.is_some_and(|grant| operations.iter().any(|operation| grant.allows(*operation, &reference))) {
            return Ok(reference);
        }
        let operation = operations.first().copied().unwrap_or(Operation::Inspect);
        let reason = format!("the stage's grants do not allow to {} `{}`", words(operation), reference.familiar());
        Err(Denial { remedy: Some(self.with_image(operation, &reference)), ..Denial::new("not-granted", reason) })
    }

    /// The key as it stands, and one image more.
    fn with_image(&self, operation: Operation, reference: &Reference) -> String {
        let known = self.grant.and_then(|grant| grant.images.get(&operation)).into_iter().flatten().map(ToString::to_string);
        let list: Vec<String> = known.chain([reference.familiar()]).map(|text| toml_string(&text)).collect();
        format!("[stage.{}.grants.docker]\n{} = [{}]", self.stage, operation.key(), list.join(", "))
    }

    fn key(&self, line: &str) -> Option<String> {
        Some(format!("[stage.{}.grants.docker]\n{line}", self.stage))
    }

    fn ceilings(&self, grant: &DockerGrant, run: &Run) -> Verdict {
        let most = grant.ceiling();
        let over = |wanted: Option<u64>, most: Option<u64>| wanted.filter(|wanted| most.is_some_and(|most| *wanted > most));
        let (memory, cpus, pids) = (run.memory, run.cpus.map(u64::from), run.pids.map(u64::from));
        let asked = if let Some(memory) = over(memory, most.memory) {
            Ceilings { memory: Some(memory), ..Ceilings::default() }
        } else if over(cpus, most.cpus.map(u64::from)).is_some() {
            Ceilings { cpus: run.cpus, ..Ceilings::default() }
        } else if over(pids, most.pids.map(u64::from)).is_some() {
            Ceilings { pids: run.pids, ..Ceilings::default() }
        } else if memory == Some(0) || run.cpus == Some(0) || run.pids == Some(0) {
            // to an engine, nothing is no limit
            return Err(Denial::new("over-ceiling", "a container with a limit of 0 would have none"));
        } else {
            return Ok(());
        };
        let reason = format!("a container may have {most}, and {asked} is asked for");
        Err(Denial { remedy: self.key(&asked.written().join("\n")), ..Denial::new("over-ceiling", reason) })
    }

    fn network(&self, grant: &DockerGrant, wanted: Network) -> Verdict {
        match (wanted, &grant.network) {
            (Network::None, _) => Ok(()),
            (_, grant::Network::None) => {
                let reason = "the stage's containers have no network";
                Err(Denial { remedy: self.key("network = \"stage\""), ..Denial::new("network", reason) })
            }
            _ => Ok(()),
        }
    }

    /// Who a container is: anybody in its own files, in the stage's nobody but the runner's user. A container's root could leave files in
    /// a folder of this machine that make others root.
    fn user(&self, user: &str, run: &Run) -> Verdict {
        let numbers: Vec<Option<u32>> =
            user.split(':').map(|part| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()))).collect();
        let uid = match numbers.as_slice() {
            [Some(uid)] | [Some(uid), Some(_)] => *uid,
            _ => return Err(Denial::new("user", format!("`{}` is no user: write `uid` or `uid:gid`", user.escape_debug()))),
        };
        if uid != self.uid && run.mounts.iter().any(|mount| mount.writable) {
            let reason = format!("with a writable mount a container runs as the runner's own user ({}), and {uid} is asked for", self.uid);
            return Err(Denial::new("user", reason));
        }
        Ok(())
    }

    /// The source of a mount, as far as its path tells.
    fn source(&self, source: &str, writable: bool) -> Verdict<Place> {
        let place = self.place(source, if writable { Access::Write } else { Access::Read })?;
        if !self.view.stands_firm(&place) {
            let reason = format!("`{place}` lies in a folder that the stage can write, where a link could take its place");
            let (scratch, remedy) = match place.root {
                crate::places::Root::Scratch => (format!("; mount {SCRATCH} itself"), None),
                crate::places::Root::Workspace => {
                    let path = toml_string(&place.path);
                    (String::new(), Some(format!("[stage.{}.grants]\nfiles = [{{ path = {path}, access = \"write\" }}]", self.stage)))
                }
            };
            return Err(Denial { remedy, ..Denial::new("mount-outside", reason + &scratch) });
        }
        Ok(place)
    }

    /// A place of the stage that may be used so.
    fn place(&self, path: &str, wanted: Access) -> Verdict<Place> {
        let outside = || Denial::new("mount-outside", format!("`{}` is not below {WORKSPACE} or {SCRATCH}", path.escape_debug()));
        if let Some(one) = self.held.within(path.as_bytes()).next() {
            return Err(misplaced(one, "a path"));
        }
        let place = Place::parse(path).ok_or_else(outside)?;
        if self.view.access(&place) >= wanted {
            return Ok(place);
        }
        let access = if wanted == Access::Write { "write" } else { "read" };
        let reason = format!("the stage's grants do not allow to {access} `{place}`");
        let denial = Denial::new("mount-outside", reason);
        // what nobody writes has no remedy
        let grantable =
            !self.view.hidden.iter().chain(self.view.protected).any(|kept| place.path.to_lowercase().starts_with(&kept.to_lowercase()));
        let rule = format!("files = [{{ path = {}, access = \"{access}\" }}]", toml_string(&place.path));
        Err(if grantable { denial.remedy(self.stage, rule) } else { denial })
    }

    fn variables(&self, env: &[(String, String)], image: Option<&str>) -> Verdict {
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Denial::new("variable", format!("`{}` is no name of a variable", name.escape_debug())));
            }
            self.no_secret([name.as_str()].into_iter(), "the name of a variable")?;
            if let Some(one) = self.held.within(value.as_bytes()).find(|one| !admits(one, image)) {
                let places = one.secret.to.iter().map(String::as_str).chain(["env"]).map(toml_string).collect::<Vec<_>>().join(", ");
                let reason = format!("the secret `{}` may not be put into the environment of a container", one.secret.name);
                let remedy = Some(format!("[secret.{}]\nto = [{places}]", one.secret.name));
                return Err(Denial { remedy, ..Denial::new("secret-place", reason) });
            }
        }
        Ok(())
    }

    /// What an engine is told is kept by it, where everybody who may use it can read it; but for variables, secrets have no place there.
    fn no_secret<'t>(&self, mut words: impl Iterator<Item = &'t str>, place: &str) -> Verdict {
        match words.find_map(|word| self.held.within(word.as_bytes()).next()) {
            Some(one) => Err(misplaced(one, place)),
            None => Ok(()),
        }
    }

    fn copy(&self, copy: &Copy, seen: &Sights) -> Verdict<Option<Look>> {
        self.granted()?;
        let place = self.place(&copy.here, if copy.way == Way::Out { Access::Write } else { Access::Read })?;
        absolute("the path in the container", Some(&copy.there))?;
        self.no_secret([copy.there.as_str()].into_iter(), "a path")?;
        let there = normal(&copy.there);
        if let Some(mount) = copy.mounted.iter().filter(|_| copy.way == Way::In).find(|mount| overlaps(&there, mount)) {
            let reason = format!("`{}` is a mount of the container; the stage writes its files itself", mount.escape_debug());
            return Err(Denial::new("mount-place", reason));
        }
        if TAKEN.iter().any(|taken| below(&there, taken)) {
            let reason = format!("`{}` is the kernel's or the engine's", copy.there.escape_debug());
            return Err(Denial::new("mount-place", reason));
        }
        match (&seen.0, copy.way) {
            (None, _) => Ok(Some(Look(vec![place]))),
            (Some(seen), _) => sources([copy.here.as_str()].into_iter(), seen).map(|()| None),
        }
    }

    fn images<O: ImageOperation>(&self, operation: &O, seen: &Sights) -> Verdict<Option<Look>> {
        self.granted()?;
        for (text, operations) in operation.demands() {
            let reference = self.image(text, operations)?;
            let names = [crate::effect::Push::NAME, crate::effect::Tag::NAME].contains(&O::NAME)
                && operations.iter().any(|one| matches!(one, Operation::Push | Operation::Tag));
            if names && matches!(reference.version, Version::Digest(_)) {
                let reason = format!("`{}` is a digest, and only a tag can be given or pushed", reference.familiar());
                return Err(Denial::new("not-granted", reason));
            }
        }
        let Some(path) = operation.file() else { return Ok(None) };
        let place = self.place(path, Access::Write)?;
        match &seen.0 {
            None => Ok(Some(Look(vec![place]))),
            Some(seen) => match seen.as_slice() {
                [Sight::Missing | Sight::File] => Ok(None),
                _ => Err(Denial::new("mount-outside", format!("`{place}` is no file, or lies behind a link"))),
            },
        }
    }
}

fn words(operation: Operation) -> &'static str {
    match operation {
        Operation::Run => "run",
        Operation::Pull => "pull",
        Operation::Inspect => "inspect",
        Operation::Build => "build",
        Operation::From => "build from",
        Operation::Push => "push",
        Operation::Tag => "give the name",
        Operation::Save => "save",
        Operation::Remove => "remove",
    }
}

/// Whether a secret may be in the environment of a container: of all, or of this image's.
fn admits(one: &SecretUse, image: Option<&str>) -> bool {
    let own = image.and_then(|image| Reference::parse(image).ok()).map(|reference| reference.repository());
    one.secret.to.iter().any(|to| match Destination::parse(to) {
        Ok(Destination::Environment(None)) => true,
        Ok(Destination::Environment(Some(only))) => Reference::parse(&only).is_ok_and(|only| Some(only.repository()) == own),
        _ => false,
    })
}

fn misplaced(one: &SecretUse, place: &str) -> Denial {
    let reason = format!("the secret `{}` stands in {place}; a container can have it in a variable of `env`", one.secret.name);
    Denial::new("secret-place", reason)
}

fn absolute(what: &str, path: Option<&str>) -> Verdict {
    match path {
        Some(path) if !path.starts_with('/') || path.contains('\0') => {
            Err(Denial::new("mount-place", format!("{what} `{}` is not absolute", path.escape_debug())))
        }
        _ => Ok(()),
    }
}

/// What was seen at sources: a file or a folder, and no link on the way.
fn sources<'t>(named: impl Iterator<Item = &'t str>, seen: &[Sight]) -> Verdict {
    for (source, sight) in named.zip(seen) {
        let reason = match sight {
            Sight::Folder | Sight::File => continue,
            Sight::Link => format!("`{source}` is a symbolic link, or lies behind one"),
            Sight::Missing => format!("`{source}` does not exist"),
            Sight::Other => format!("`{source}` is neither a file nor a folder"),
        };
        return Err(Denial::new("mount-outside", reason));
    }
    Ok(())
}

/// A mount's target, in its plain form.
fn target(text: &str) -> Verdict<String> {
    let denied = |why: &str| Err(Denial::new("mount-place", format!("nothing can be mounted at `{}`: {why}", text.escape_debug())));
    if !text.starts_with('/') || text.contains('\0') {
        return denied("it is not absolute");
    }
    if text.split('/').any(|part| part == "..") {
        return denied("it leads upwards");
    }
    let plain = normal(text);
    if plain == "/" {
        return denied("the image's own files are there");
    }
    if TAKEN.iter().any(|taken| overlaps(&plain, taken)) {
        return denied("the kernel, the engine or the host has something there");
    }
    Ok(plain)
}

/// Without `.`, `..` and double slashes.
pub fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether one of them covers something of the other.
fn overlaps(one: &str, other: &str) -> bool {
    below(one, other) || below(other, one)
}

fn below(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
