//! Health gates: one try of a probe, and what it says where it fails.

use pipeline::plan::{Probe, Ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Launched;
use crate::log::Log;

/// Of an answer, more is not read.
const ANSWER: u64 = 4096;

/// The gate, for people.
pub fn gate(probe: &Probe) -> String {
    match probe {
        Probe::Command(words) => format!("`{}`", words.join(" ")),
        Probe::Tcp(port) => format!("a connection to port {port}"),
        Probe::Http(url) => format!("GET {url}"),
        Probe::Log(text) => format!("a line of its log with {text:?}"),
        Probe::Exit(code) => format!("its end with exit {code}"),
    }
}

/// One try. Err: what it saw instead.
pub async fn look(ready: &Ready, service: &dyn Launched, log: &Log) -> Result<(), String> {
    let probe = &ready.probe;
    let looking = async {
        match probe {
            Probe::Command(words) => service.run(words).await.map(|_| ()),
            Probe::Tcp(port) => service.connect(*port).await.map(|_| ()).map_err(|error| error.to_string()),
            Probe::Http(url) => http(url, service).await,
            Probe::Log(_) => {
                log.line().await;
                Ok(())
            }
            Probe::Exit(code) => match service.ended().await {
                how if how == format!("exit {code}") => Ok(()),
                how => Err(how),
            },
        }
    };
    match tokio::time::timeout(ready.try_timeout, looking).await {
        Ok(answer) => answer,
        Err(_) if matches!(probe, Probe::Log(_)) => Err("no such line".to_owned()),
        Err(_) if matches!(probe, Probe::Exit(_)) => Err("it still runs".to_owned()),
        Err(_) => Err(format!("no answer within {}", crate::shown(ready.try_timeout))),
    }
}

/// `GET`, and nothing of the answer but its status: a client that follows redirects or checks more would only be in the way here.
async fn http(url: &str, service: &dyn Launched) -> Result<(), String> {
    let (authority, path) = split(url);
    let port = match authority.rsplit_once(':') {
        Some((_, port)) => port.parse().map_err(|_| format!("`{port}` is no port"))?,
        None => 80,
    };
    let io = |error: std::io::Error| error.to_string();
    let mut stream = service.connect(port).await.map_err(io)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER);
    while !answer.contains(&b'\n') {
        if limited.read_buf(&mut answer).await.map_err(io)? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("it answered {status}")),
        None => Err("it did not answer in HTTP".to_owned()),
    }
}

/// `db:8080` and `/health` of `http://db:8080/health`.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let path = rest[end..].split('#').next().unwrap_or_default();
    (&rest[..end], if path.starts_with('/') { path } else { "/" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        for (url, authority, path) in [
            ("http://db:8080/health?a=1#x", "db:8080", "/health?a=1"),
            ("http://db", "db", "/"),
            ("http://db:80", "db:80", "/"),
            ("http://db#x", "db", "/"),
        ] {
            assert_eq!(split(url), (authority, path), "{url}");
        }
    }
}
