//! What can be set from outside, by environment variables.

use std::time::Duration;

/// The settings of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `HOST`: the address to listen on; 0.0.0.0 without it.
    pub host: String,
    /// `PORT`: 8080 without it; 0 takes a free one.
    pub port: u16,
    /// `VERSION`: what the service says it is; the package's version without it.
    pub version: String,
    /// `ERROR_RATE`: the share of requests for products that is answered with 500, from 0 to 1.
    pub error_rate: f64,
    /// `LATENCY_MS`: how much longer each request for products takes.
    pub latency: Duration,
    /// `FAIL_HEALTH`: whether `/health` answers 500.
    pub fail_health: bool,
    /// `FAIL_READY`: whether `/health/ready` answers 503 from the beginning.
    pub fail_ready: bool,
    /// `CRASH_AFTER_MS`: when the process ends with an error; never without it.
    pub crash_after: Option<Duration>,
    /// `DRAIN_MS`: how long it still serves after it was asked to end, while it says that it is not ready. Whoever spreads requests over
    /// several of it needs that time to hear of the end.
    pub drain: Duration,
    /// How long a request may take to arrive once it has begun, and a response to be taken. Not to be set from outside.
    pub transfer: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: "0.0.0.0".into(),
            port: 8080,
            version: env!("CARGO_PKG_VERSION").into(),
            error_rate: 0.0,
            latency: Duration::ZERO,
            fail_health: false,
            fail_ready: false,
            crash_after: None,
            drain: Duration::ZERO,
            transfer: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Reads the settings by variable name. An empty variable counts as unset.
    ///
    /// # Errors
    /// Says which variable cannot be used, and what it may be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut settings = Settings::default();
        if let Some(host) = variable("HOST") {
            settings.host = host;
        }
        if let Some(version) = variable("VERSION") {
            settings.version = version;
        }
        if let Some(port) = variable("PORT") {
            settings.port = port.parse().map_err(|_| format!("PORT is `{port}`: use a number from 0 to 65535"))?;
        }
        if let Some(rate) = variable("ERROR_RATE") {
            settings.error_rate = rate
                .parse()
                .ok()
                .filter(|rate| (0.0..=1.0).contains(rate))
                .ok_or_else(|| format!("ERROR_RATE is `{rate}`: use a number from 0 to 1"))?;
        }
        if let Some(latency) = milliseconds("LATENCY_MS", variable)? {
            settings.latency = latency;
        }
        if let Some(drain) = milliseconds("DRAIN_MS", variable)? {
            settings.drain = drain;
        }
        settings.crash_after = milliseconds("CRASH_AFTER_MS", variable)?;
        settings.fail_health = yes("FAIL_HEALTH", variable)?;
        settings.fail_ready = yes("FAIL_READY", variable)?;
        Ok(settings)
    }
}

fn milliseconds(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Duration>, String> {
    let Some(value) = variable(name) else { return Ok(None) };
    let milliseconds: u32 = value.parse().map_err(|_| format!("{name} is `{value}`: use whole milliseconds"))?;
    Ok(Some(Duration::from_millis(milliseconds.into())))
}

fn yes(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    match variable(name).as_deref() {
        Some("1" | "true" | "yes") => Ok(true),
        None | Some("0" | "false" | "no") => Ok(false),
        Some(value) => Err(format!("{name} is `{value}`: use true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_variables_the_defaults_stand() {
        assert_eq!(read(&[]), Ok(Settings::default()));
        assert_eq!(read(&[("PORT", "")]), Ok(Settings::default()));
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("VERSION", "2.0.0"),
            ("ERROR_RATE", "0.25"),
            ("LATENCY_MS", "40"),
            ("FAIL_HEALTH", "true"),
            ("FAIL_READY", "1"),
            ("CRASH_AFTER_MS", "3000"),
            ("DRAIN_MS", "2000"),
        ]);
        let expected = Settings {
            host: "127.0.0.1".into(),
            port: 0,
            version: "2.0.0".into(),
            error_rate: 0.25,
            latency: Duration::from_millis(40),
            fail_health: true,
            fail_ready: true,
            crash_after: Some(Duration::from_secs(3)),
            drain: Duration::from_secs(2),
            ..Settings::default()
        };
        assert_eq!(settings, Ok(expected));
    }

    #[test]
    fn a_value_that_cannot_be_used_names_its_variable() {
        for (name, value) in [
            ("PORT", "70000"),
            ("ERROR_RATE", "1.5"),
            ("ERROR_RATE", "NaN"),
            ("LATENCY_MS", "-1"),
            ("FAIL_HEALTH", "maybe"),
            ("CRASH_AFTER_MS", "soon"),
            ("DRAIN_MS", "1.5"),
        ] {
            let error = read(&[(name, value)]).expect_err(value);
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
