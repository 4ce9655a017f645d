//! What is outside of the stage, as one trait: requests, the engine, the clock, the log, and the key that signs. The component's is in `stage.rs`; tests
//! have one over real sockets.

use std::io::Read;
use std::time::Duration;

use runner_sdk::Failure;
use runner_sdk::docker::images::Pushed;
use runner_sdk::docker::{self, Build, Built};
use runner_sdk::log::Level;

/// A request to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, url: impl Into<String>) -> Request {
        Request { method, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: Vec<u8>) -> Request {
        self.body = body;
        self
    }
}

/// A response whose head is there.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Box<dyn Read>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may be there the next time.
    Passing(String),
    /// It will be the same the next time.
    Lasting(Failure),
}

/// The port.
pub trait World {
    fn send(&mut self, request: &Request) -> Result<Response, Trouble>;
    fn pause(&mut self, duration: Duration);
    /// From 0 to 1, another one each time.
    fn jitter(&mut self) -> f64;
    fn say(&mut self, level: Level, text: &str);
    /// The signature in ASN.1 DER, ECDSA on P-256 with SHA-256.
    fn sign(&mut self, key: &str, password: Option<&str>, payload: &[u8]) -> Result<Vec<u8>, Failure>;

    fn build(&mut self, build: &Build) -> Result<Built, docker::Error>;
    fn tag(&mut self, source: &str, target: &str) -> Result<(), docker::Error>;
    fn push(&mut self, reference: &str) -> Result<Pushed, docker::Error>;
    /// Writes the image into a new file of the workspace.
    fn save(&mut self, reference: &str, path: &str) -> Result<u64, docker::Error>;
}

/// How often and after what waits something is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub retries: u32,
    pub delay: Duration,
}

/// No wait is longer, whatever was asked for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Patience {
    /// Before the retry with this number, from 1: doubled each time, and moved by up to a half, so that many do not come back at once.
    pub fn wait(&self, retry: u32, jitter: f64) -> Duration {
        let doubled = self.delay.saturating_mul(1 << retry.saturating_sub(1).min(16)).min(LONGEST_WAIT);
        doubled.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0).min(LONGEST_WAIT)
    }

    /// Says what went wrong, and waits.
    pub fn pause(&self, world: &mut dyn World, retry: u32, asked: Option<Duration>, what: &str) {
        let jitter = world.jitter();
        let wait = asked.unwrap_or_else(|| self.wait(retry, jitter));
        world.say(Level::Warn, &format!("{what}; trying again in {:.1}s ({retry} of {})", wait.as_secs_f64(), self.retries));
        world.pause(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let patience = Patience { retries: 20, delay: Duration::from_secs(1) };
        let waits: Vec<u64> = (1..=7).map(|retry| patience.wait(retry, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(patience.wait(1, 0.0), Duration::from_millis(750));
        assert_eq!(patience.wait(1, 1.0), Duration::from_millis(1250));
        assert_eq!(patience.wait(40, 1.0), LONGEST_WAIT);
    }
}
