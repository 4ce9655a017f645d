//! The network that the stage's `http` grant leads to.

use std::collections::BTreeMap;
use std::time::Duration;

use runner_sdk::http;

use crate::probe::{Failed, Web};

pub struct Network;

impl Web for Network {
    fn get(&mut self, url: &str, headers: &BTreeMap<String, String>, timeout: Duration) -> Result<(u16, Vec<u8>), Failed> {
        let request = headers.iter().fold(http::get(url).timeout(timeout), |request, (name, value)| request.header(name, value.as_bytes()));
        let response = request.send().map_err(failed)?;
        Ok((response.status(), response.bytes().map_err(failed)?))
    }
}

fn failed(error: http::Error) -> Failed {
    match error {
        http::Error::Denied(_) | http::Error::Invalid(_) => Failed::Lasting(error.into()),
        passing => Failed::Passing(passing.to_string()),
    }
}
