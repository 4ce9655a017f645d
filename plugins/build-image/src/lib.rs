//! The build-image stage: an image from a Dockerfile through a granted engine, or from files alone, with its names, labels, bill of materials and
//! signature, in a registry.
//!
//! [`settings`] says what is wanted, [`tags`] and [`about`] what it is called and what it says of itself. [`engine`] has Docker build it; or
//! [`layer`], [`base`] and [`image`] make it of files, and [`publish`] brings it away. [`registry`] speaks with registries, [`attach`] adds documents and
//! signatures. [`stage`] puts these into their order. All of it knows the outside as the trait [`world::World`]; only this file knows that there is a host.

pub mod about;
pub mod attach;
pub mod base;
pub mod blob;
pub mod engine;
pub mod image;
pub mod layer;
pub mod publish;
pub mod reference;
pub mod registry;
pub mod sbom;
pub mod settings;
pub mod stage;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod world;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use runner_sdk::docker::images::{self, Pushed};
use runner_sdk::docker::{self, Build, Built};
use runner_sdk::log::{self, Level};
use runner_sdk::{Context, Failure, Outcome, Stage, files, http, outputs, secrets};

use crate::settings::Settings;
use crate::stage::Work;
use crate::tags::About;
use crate::world::{Request, Response, Trouble, World};

/// For one exchange; a layer may be large and a network slow.
const EXCHANGE: Duration = Duration::from_secs(600);
/// The most that the host lets a response have.
const LARGEST_BODY: u64 = 1 << 30;

/// The stage.
pub struct BuildImage;

runner_sdk::export!(BuildImage);

impl Stage for BuildImage {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let origin = runner_sdk::run::about();
        let about = About {
            sha: origin.sha,
            branch: origin.branch,
            tag: origin.tag,
            started: Timestamp::try_from(origin.started).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        let epoch = context.env.iter().find(|(name, _)| name == "SOURCE_DATE_EPOCH").map(|(_, value)| value.as_str());
        let work = Work { world: &mut Outside, settings: &settings, about: &about, epoch, scratch: Path::new(files::SCRATCH) };
        let told = work.run()?;
        for (name, value) in &told.outputs {
            outputs::set(name, value)?;
        }
        Ok(Outcome::new(told.summary))
    }
}

/// The host.
struct Outside;

impl World for Outside {
    fn send(&mut self, request: &Request) -> Result<Response, Trouble> {
        let mut prepared = http::Request::new(request.method, &request.url).timeout(EXCHANGE).max_body(LARGEST_BODY);
        // blobs are often kept elsewhere; the login does not go there
        prepared = if matches!(request.method, "GET" | "HEAD") { prepared.redirects(5) } else { prepared };
        for (name, value) in &request.headers {
            prepared = prepared.header(*name, value.as_bytes());
        }
        let response = prepared.body(request.body.clone()).send().map_err(|error| match error {
            http::Error::Denied(_) | http::Error::Invalid(_) | http::Error::Tls(_) => Trouble::Lasting(error.into()),
            passing => Trouble::Passing(passing.to_string()),
        })?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect();
        Ok(Response { status: response.status(), headers, body: Box::new(response) })
    }

    fn pause(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn jitter(&mut self) -> f64 {
        // the standard library's only source of randomness, which is the host's: the same in a replay
        (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn say(&mut self, level: Level, text: &str) {
        log::log(level, text);
    }

    fn sign(&mut self, key: &str, password: Option<&str>, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(secrets::sign(key, password, payload)?)
    }

    fn build(&mut self, build: &Build) -> Result<Built, docker::Error> {
        build.run()
    }

    fn tag(&mut self, source: &str, target: &str) -> Result<(), docker::Error> {
        images::tag(source, target)
    }

    fn push(&mut self, reference: &str) -> Result<Pushed, docker::Error> {
        images::push(reference)
    }

    fn save(&mut self, reference: &str, path: &str) -> Result<u64, docker::Error> {
        images::save([reference], path)
    }
}
