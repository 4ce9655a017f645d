//! A program in a container that runs.

use std::time::Duration;

use admission::Target;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::answer;
use crate::ask::never_left;
use crate::cluster::Cluster;
use crate::error::{ClusterError, chain};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    pub container: Option<String>,
    pub arguments: Vec<String>,
    pub stdin: Vec<u8>,
}

/// How long output is waited for once the program has ended, or the connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

impl Cluster {
    /// Runs a program and waits for its end. Answers with its exit code. If this is dropped the connection is closed; what becomes of the program then is
    /// the container runtime's affair.
    ///
    /// # Errors
    /// If it can't be started; [`ClusterError::Lost`] if the connection broke, since nobody can tell how far it came.
    pub async fn exec(&self, pod: &Target, exec: &Exec, mut printed: impl FnMut(Output, &[u8])) -> Result<i32, ClusterError> {
        let doing = format!("running {} in {pod}", exec.arguments.first().map_or("nothing", String::as_str));
        let (Some(namespace), Some(name)) = (pod.namespace(), pod.name()) else {
            return Err(ClusterError::Unexpected { doing, why: "a Pod has a namespace and a name".to_owned() });
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut params = AttachParams::default().stdin(!exec.stdin.is_empty()).stdout(true).stderr(true);
        if let Some(container) = &exec.container {
            params = params.container(container);
        }
        let mut process = pods.exec(name, &exec.arguments, &params).await.map_err(|error| self.not_begun(&doing, error))?;
        let (mut stdout, mut stderr, stdin, status) = (process.stdout(), process.stderr(), process.stdin(), process.take_status());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // a program that does not read its input closes it, which is no error
                if stdin.write_all(&exec.stdin).await.is_ok() {
                    stdin.shutdown().await.ok();
                }
            }
        };
        let mut ended = std::pin::pin!(async move {
            match status {
                Some(status) => status.await,
                None => None,
            }
        });
        let mut status = None;
        let pour = async {
            let (mut out, mut err) = ([0; 16 * 1024], [0; 16 * 1024]);
            while stdout.is_some() || stderr.is_some() {
                // kube leaves both open when the connection breaks, so that who reads on would read for ever
                let patience = if status.is_some() { LAST_WORDS } else { Duration::MAX };
                tokio::select! {
                    biased;
                    read = read(&mut stdout, &mut out), if stdout.is_some() => match read {
                        0 => stdout = None,
                        read => printed(Output::Stdout, &out[..read]),
                    },
                    read = read(&mut stderr, &mut err), if stderr.is_some() => match read {
                        0 => stderr = None,
                        read => printed(Output::Stderr, &err[..read]),
                    },
                    said = &mut ended, if status.is_none() => status = Some(said),
                    () = tokio::time::sleep(patience) => break,
                }
            }
        };
        tokio::select! {
            () = pour => {}
            () = async { feed.await; std::future::pending().await } => {}
        }
        let said = match status {
            Some(said) => said,
            None => ended.await,
        };
        match said {
            Some(said) => code(&doing, &said),
            None => {
                let why = match process.join().await {
                    // older servers know no end of the input but that of the connection
                    Ok(()) if !exec.stdin.is_empty() => "it ended without saying how (input takes a cluster of 1.30 or later)".to_owned(),
                    Ok(()) => "it ended without saying how".to_owned(),
                    Err(error) => chain(&error),
                };
                Err(ClusterError::Lost { doing, server: self.server().to_owned(), why })
            }
        }
    }

    pub(crate) fn not_begun(&self, doing: &str, error: kube::Error) -> ClusterError {
        match error {
            kube::Error::Api(status) => {
                let body = serde_json::to_vec(&*status).unwrap_or_default();
                answer::said(doing, status.code, &body)
            }
            other if never_left(&other) => {
                ClusterError::Unreachable { server: self.server().to_owned(), from: self.chosen_by().to_owned(), why: chain(&other) }
            }
            other => ClusterError::Lost { doing: doing.to_owned(), server: self.server().to_owned(), why: chain(&other) },
        }
    }
}

async fn read(from: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(into).await.unwrap_or_default(),
        None => 0,
    }
}

/// The exit code that a status holds.
fn code(doing: &str, status: &Status) -> Result<i32, ClusterError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode")).find_map(|cause| cause.message.as_ref()?.parse().ok());
    code.ok_or_else(|| ClusterError::Said {
        doing: doing.to_owned(),
        status: status.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500),
        reason: status.reason.clone().unwrap_or_default(),
        words: status.message.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exit_code_stands_in_a_cause() {
        let status = |value: serde_json::Value| serde_json::from_value::<Status>(value).unwrap();
        assert_eq!(code("", &status(json!({ "status": "Success" }))).unwrap(), 0);
        let failed = json!({ "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 3", "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] } });
        assert_eq!(code("", &status(failed)).unwrap(), 3);
        let none = json!({ "status": "Failure", "reason": "InternalError", "message": "no such program", "code": 500 });
        assert_eq!(
            code("running x", &status(none)).unwrap_err().to_string(),
            "running x: the cluster says: no such program (InternalError, status 500)"
        );
    }
}
