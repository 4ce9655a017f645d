//! The OCI distribution protocol (<https://github.com/opencontainers/distribution-spec>): what pushing and attaching need of it.
//!
//! Generic over the world, so that tests speak it to a real registry. Blobs go up in pieces and are never in memory as a whole. Whatever the
//! network or the registry's load did is tried again with growing waits; a blob from its beginning, since nobody knows where a broken upload
//! stands. Deliberately absent: resuming uploads, listing, deleting.

mod challenge;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runner_sdk::Failure;
use runner_sdk::log::Level;
use serde_json::Value;

use self::challenge::{Challenge, token_url};
use crate::blob::{Blob, Descriptor, Place, copy, digest, media};
use crate::reference::Repository;
use crate::settings::Login;
use crate::world::{LONGEST_WAIT, Patience, Request, Response, Trouble, World};

/// A blob up to here is sent in one piece, which every registry takes.
const ONE_PIECE: u64 = 4 << 20;
/// The pieces of larger ones. Some registries take none below 5 MiB; a call of a component to its host may have 16 MiB.
const PIECE: u64 = 8 << 20;
/// The specification lets registries refuse larger manifests.
const LARGEST_MANIFEST: u64 = 4 << 20;
/// So much of what a registry says is repeated.
const EXCERPT: usize = 300;

/// Why the registry does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The network, or the registry's load: also after all tries.
    #[error("{why}")]
    Passing {
        why: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// 401 or 403.
    #[error("{0}")]
    Refused(String),
    /// It said something that the protocol does not know, or no to what was asked.
    #[error("{0}")]
    Said(String),
    /// A denial, a file that can't be read.
    #[error("{0}")]
    Outside(Failure),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Outside(failure) => failure,
            other => Failure::errored(other),
        }
    }
}

fn passing(why: impl Into<String>) -> Error {
    Error::Passing { why: why.into(), after: None }
}

/// A manifest or index as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

impl Manifest {
    /// # Errors
    /// If it is no JSON.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Error::Said(format!("the manifest {} is no JSON: {error}", self.descriptor.digest)))
    }
}

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    Known,
    Mounted,
    Sent,
}

/// What the protocol is spoken with.
pub struct Client<'a> {
    pub world: &'a mut dyn World,
    logins: &'a BTreeMap<String, Login>,
    patience: Patience,
    /// Where blobs of other registries are kept on their way.
    scratch: PathBuf,
    /// The `Authorization` that a repository took last.
    granted: BTreeMap<Repository, String>,
}

impl<'a> Client<'a> {
    pub fn new(world: &'a mut dyn World, logins: &'a BTreeMap<String, Login>, patience: Patience, scratch: PathBuf) -> Client<'a> {
        Client { world, logins, patience, scratch, granted: BTreeMap::new() }
    }

    /// A manifest by tag or digest; `None` if there is none.
    ///
    /// # Errors
    /// If nobody can tell.
    pub fn manifest(&mut self, repository: &Repository, wanted: &str) -> Result<Option<Manifest>, Error> {
        const ACCEPTED: [&str; 4] = [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_INDEX];
        let request = Request::new("GET", format!("{}/manifests/{wanted}", repository.api())).header("accept", ACCEPTED.join(", "));
        let place = format!("{repository} ({wanted})");
        self.patiently(&place, |client| {
            let mut response = client.exchange(repository, &request)?;
            match response.status {
                200 => {}
                404 => return Ok(None),
                _ => return Err(Error::Said(said(&place, response))),
            }
            let kind = response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
            let bytes = read(&mut response, LARGEST_MANIFEST, &place)?;
            // some serve everything as JSON; the document knows better
            let stated = || serde_json::from_slice::<Value>(&bytes).ok()?.get("mediaType")?.as_str().map(str::to_owned);
            let kind = if kind.starts_with("application/vnd.") { kind } else { stated().unwrap_or(kind) };
            let descriptor = Descriptor::of(&kind, &bytes);
            if wanted.starts_with("sha256:") && wanted != descriptor.digest {
                return Err(Error::Said(format!("{place}: what came has another digest, {}", descriptor.digest)));
            }
            Ok(Some(Manifest { descriptor, bytes }))
        })
    }

    /// Puts a manifest under a tag or its digest. Answers whether the registry keeps referrers of its `subject` by itself.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub fn put_manifest(&mut self, repository: &Repository, name: &str, kind: &str, bytes: &[u8]) -> Result<bool, Error> {
        let url = format!("{}/manifests/{name}", repository.api());
        let request = Request::new("PUT", url).header("content-type", kind).body(bytes.to_vec());
        let place = format!("{repository} ({name})");
        self.patiently(&place, |client| {
            let response = client.exchange(repository, &request)?;
            if !matches!(response.status, 200..=202) {
                return Err(Error::Said(said(&place, response)));
            }
            match response.header("docker-content-digest") {
                Some(other) if other.starts_with("sha256:") && other != digest(bytes) => {
                    Err(Error::Said(format!("{place}: the registry has made something else of it: {other}")))
                }
                _ => Ok(response.header("oci-subject").is_some()),
            }
        })
    }

    /// Sees to it that the repository has the blob: it may have it already, or take it over from another repository of the same registry.
    ///
    /// # Errors
    /// If the registry does not take it, or its bytes can't be had.
    pub fn push_blob(&mut self, repository: &Repository, blob: &Blob) -> Result<Arrived, Error> {
        let digest = &blob.descriptor.digest;
        let place = format!("{repository} ({digest})");
        let known = self.patiently(&place, |client| {
            let response = client.exchange(repository, &Request::new("HEAD", format!("{}/blobs/{digest}", repository.api())))?;
            match response.status {
                200 => Ok(true),
                404 => Ok(false),
                _ => Err(Error::Said(said(&place, response))),
            }
        })?;
        if known {
            return Ok(Arrived::Known);
        }
        let mut fetched = None;
        if let Place::Registry(from) = &blob.place {
            if from.registry == repository.registry && self.mount(repository, from, digest)? {
                return Ok(Arrived::Mounted);
            }
            fetched = Some(self.fetch(from, &blob.descriptor)?);
        }
        let blob = fetched.as_ref().unwrap_or(blob);
        self.patiently(&place, |client| client.upload(repository, blob))?;
        Ok(Arrived::Sent)
    }

    /// Takes a blob over from another repository of the registry, if it lets us.
    fn mount(&mut self, repository: &Repository, from: &Repository, digest: &str) -> Result<bool, Error> {
        let url = format!("{}/blobs/uploads/?mount={digest}&from={}", repository.api(), from.name);
        let request = Request::new("POST", url).header("idempotency-key", format!("mount-{digest}"));
        // anything but a clear yes is no more than a reason to send it
        self.patiently(&format!("{repository} ({digest})"), |client| Ok(client.exchange(repository, &request)?.status == 201))
    }

    /// Brings a blob into the scratch folder.
    ///
    /// # Errors
    /// If it is not there, or is another one.
    pub fn fetch(&mut self, repository: &Repository, descriptor: &Descriptor) -> Result<Blob, Error> {
        let wanted = &descriptor.digest;
        let place = format!("{repository} ({wanted})");
        let path = self.scratch.join(wanted.replace(':', "-"));
        let request = Request::new("GET", format!("{}/blobs/{wanted}", repository.api()));
        self.patiently(&place, |client| {
            let mut response = client.exchange(repository, &request)?;
            if response.status != 200 {
                return Err(Error::Said(said(&place, response)));
            }
            let kept = |error: std::io::Error| Error::Outside(Failure::errored(format_args!("{}: {error}", path.display())));
            let file = File::create(&path).map_err(kept)?;
            let (found, size) = copy(&mut response.body, BufWriter::new(file)).map_err(|error| passing(format!("{place}: {error}")))?;
            if found != *wanted || size != descriptor.size {
                return Err(passing(format!("{place}: what came has {size} bytes and the digest {found}")));
            }
            Ok(())
        })?;
        Ok(Blob { descriptor: descriptor.clone(), place: Place::File(path, 0) })
    }

    fn upload(&mut self, repository: &Repository, blob: &Blob) -> Result<(), Error> {
        let Descriptor { digest, size, .. } = &blob.descriptor;
        let place = format!("{repository} ({digest})");
        let unread = |error| Error::Outside(Failure::errored(format_args!("the bytes of {digest} can't be read: {error}")));
        let start =
            Request::new("POST", format!("{}/blobs/uploads/", repository.api())).header("idempotency-key", format!("upload-{digest}"));
        let response = self.exchange(repository, &start)?;
        if response.status != 202 {
            return Err(Error::Said(said(&place, response)));
        }
        let mut location = self.location(repository, &response, &place)?;
        let mut bytes = blob.open(0).map_err(unread)?.ok_or_else(|| unread(std::io::Error::other("they are elsewhere")))?;
        let smallest = response.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut sent = 0;
        while *size > ONE_PIECE && sent < *size {
            let piece = take(&mut *bytes, PIECE.max(smallest).min(size - sent)).map_err(unread)?;
            let last = sent + piece.len() as u64;
            let request = Request::new("PATCH", &location)
                .header("content-type", "application/octet-stream")
                .header("content-range", format!("{sent}-{}", last - 1))
                .header("idempotency-key", format!("{digest}-{sent}"))
                .body(piece);
            let response = self.exchange(repository, &request)?;
            match response.status {
                201 | 202 => {}
                // a piece that arrived twice, after a crash: from the beginning
                416 => return Err(passing(format!("{place}: the upload stands elsewhere"))),
                _ => return Err(Error::Said(said(&place, response))),
            }
            location = self.location(repository, &response, &place)?;
            sent = last;
        }
        let rest = if sent == 0 { take(&mut *bytes, *size).map_err(unread)? } else { Vec::new() };
        let joint = if location.contains('?') { '&' } else { '?' };
        let finish = Request::new("PUT", format!("{location}{joint}digest={}", digest.replace(':', "%3A")))
            .header("content-type", "application/octet-stream")
            .body(rest);
        let response = self.exchange(repository, &finish)?;
        if matches!(response.status, 201 | 204) { Ok(()) } else { Err(Error::Said(said(&place, response))) }
    }

    /// Where an upload goes on; it may be relative.
    fn location(&self, repository: &Repository, response: &Response, place: &str) -> Result<String, Error> {
        let location = response.header("location").unwrap_or_default();
        if location.starts_with("https://") || location.starts_with("http://") {
            return Ok(location.to_owned());
        }
        if !location.starts_with('/') {
            return Err(Error::Said(format!("{place}: the registry does not say where to send the bytes")));
        }
        let api = repository.api();
        let origin = api.find("/v2/").map_or(api.as_str(), |at| &api[..at]);
        Ok(format!("{origin}{location}"))
    }

    /// Tries until it works, or what went wrong lasts.
    fn patiently<T>(&mut self, place: &str, mut act: impl FnMut(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let mut retry = 0;
        loop {
            match act(self) {
                Err(Error::Passing { why, after }) if after.is_some_and(|after| after > LONGEST_WAIT) => {
                    let seconds = after.unwrap_or_default().as_secs();
                    return Err(passing(format!("{why}; it wants to be asked again in {seconds}s, which is too late")));
                }
                Err(Error::Passing { why, .. }) if retry == self.patience.retries => {
                    return Err(passing(format!("{place}: {why}; {} tries", retry + 1)));
                }
                Err(Error::Passing { why, after }) => {
                    retry += 1;
                    let patience = self.patience;
                    patience.pause(self.world, retry, after, &format!("{place}: {why}"));
                }
                other => return other,
            }
        }
    }

    /// One request, with the login that the registry asks for. Passing trouble is an error; what else it says is a response.
    fn exchange(&mut self, repository: &Repository, request: &Request) -> Result<Response, Error> {
        let mut asked = false;
        loop {
            let mut request = request.clone();
            // an upload may go on elsewhere, where this login is nobody's business
            let api = repository.api();
            let own = request.url.starts_with(api.strip_suffix(&repository.name).unwrap_or(&api));
            if let Some(authorization) = self.granted.get(repository).filter(|_| own) {
                request.headers.push(("authorization", authorization.clone()));
            }
            let response = self.send(&request)?;
            match response.status {
                401 if !asked && own => {
                    asked = true;
                    let authorization = self.authorize(repository, &request, &response)?;
                    self.granted.insert(repository.clone(), authorization);
                }
                401 | 403 => {
                    let host = &repository.registry;
                    let mend = match self.logins.get(host) {
                        None => format!("give it `login = {{ \"{host}\" = {{ username = \"…\", password = \"${{secret.…}}\" }} }}`"),
                        Some(login) => format!("may `{}` do this there?", login.username),
                    };
                    return Err(Error::Refused(format!("{}; {mend}", said(&repository.to_string(), response))));
                }
                429 | 500 | 502..=504 => {
                    let after = response.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
                    return Err(Error::Passing { why: said(&repository.registry, response), after });
                }
                _ => return Ok(response),
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<Response, Error> {
        self.world.send(request).map_err(|trouble| match trouble {
            Trouble::Passing(why) => passing(why),
            Trouble::Lasting(failure) => Error::Outside(failure),
        })
    }

    /// What to put into `Authorization`, by the registry's own word.
    fn authorize(&mut self, repository: &Repository, request: &Request, refused: &Response) -> Result<String, Error> {
        let host = &repository.registry;
        let headers = refused.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| value.as_str());
        let basic =
            self.logins.get(host).map(|login| format!("Basic {}", STANDARD.encode(format!("{}:{}", login.username, login.password))));
        match Challenge::choose(headers) {
            None => Err(Error::Refused(format!("{host} wants a login, and does not say which kind"))),
            Some(Challenge::Basic) => basic.ok_or_else(|| {
                Error::Refused(format!(
                    "{host} wants a login; give it `login = {{ \"{host}\" = {{ username = \"…\", password = \"${{secret.…}}\" }} }}`"
                ))
            }),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let mut scopes: Vec<String> =
                    scope.into_iter().flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
                if let Some((_, from)) = request.url.split_once("&from=") {
                    let also = format!("repository:{from}:pull");
                    if !scopes.iter().any(|scope| scope.starts_with(&format!("repository:{from}:"))) {
                        scopes.push(also);
                    }
                }
                let mut request = Request::new("GET", token_url(&realm, service.as_deref(), &scopes));
                request.headers.extend(basic.map(|basic| ("authorization", basic)));
                self.token(host, &request)
            }
        }
    }

    fn token(&mut self, host: &str, request: &Request) -> Result<String, Error> {
        let mut response = self.send(request)?;
        let place = format!("the token of {host}");
        match response.status {
            200 => {}
            429 | 500 | 502..=504 => {
                return Err(passing(said(&place, response)));
            }
            401 | 403 => return Err(Error::Refused(format!("{}; are the user and the password right?", said(&place, response)))),
            _ => return Err(Error::Said(said(&place, response))),
        }
        let answer: Value = serde_json::from_slice(&read(&mut response, 1 << 20, &place)?).unwrap_or_default();
        let token = ["token", "access_token"].iter().find_map(|name| answer.get(name)?.as_str()).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::Said(format!("{place}: there is none in the answer")))?;
        Ok(format!("Bearer {token}"))
    }

    pub fn note(&mut self, text: &str) {
        self.world.say(Level::Info, text);
    }
}

/// The next bytes, exactly so many.
fn take(from: &mut dyn Read, count: u64) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    from.take(count).read_to_end(&mut piece)?;
    if piece.len() as u64 == count { Ok(piece) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn read(response: &mut Response, most: u64, place: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    (&mut response.body).take(most + 1).read_to_end(&mut bytes).map_err(|error| passing(format!("{place}: {error}")))?;
    if bytes.len() as u64 > most { Err(Error::Said(format!("{place}: the answer is larger than {most} bytes"))) } else { Ok(bytes) }
}

/// What a registry said that is no yes: its status, and its own words (`errors[].message`, or the body).
fn said(place: &str, mut response: Response) -> String {
    let mut body = Vec::new();
    // what can't be read is not repeated
    let _ = (&mut response.body).take(16 << 10).read_to_end(&mut body);
    let words = serde_json::from_slice::<Value>(&body).ok().and_then(|answer| {
        let error = answer.pointer("/errors/0")?;
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(format!("{} {}", text("code"), text("message")).trim().to_owned())
    });
    let words = words.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    let colon = if words.is_empty() { "" } else { ": " };
    format!("{place}: it answered {}{colon}{words}", response.status)
}

#[cfg(test)]
mod tests;
