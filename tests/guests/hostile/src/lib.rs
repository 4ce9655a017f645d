//! A stage that tries what it must not: each entry of `tries` is one attempt, and what came of it is one line of the log.
//!
//! `RESULT 0 ok …`: it was done. `RESULT 0 refused …`: the runner said no. `RESULT 0 error …`: it did not work for another reason. The
//! stage goes on after each and passes at the end, unless an attempt is of the kind that ends it (`exit`, `panic`, `answer`).
//!
//! Files, sockets and `wasi:http` are tried through WASI itself and not through `std`, which would refuse some of it before the host is
//! even asked (an absolute path, for one).

mod ambient;
mod bindings;
mod docker;
mod exhaust;
mod files;
mod kubernetes;
mod network;
mod result;
mod secrets;

use std::time::Duration;

use runner_sdk::{Context, Failure, Outcome, Stage, commands, files as sdk_files, log, outputs, progress};
use serde::Deserialize;

use result::{Attempted, refused};

struct Hostile;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    tries: Vec<Try>,
}

/// Paths of the file attempts are relative to `from`, `/workspace` unless it says otherwise.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
enum Try {
    Files(files::Attempt),
    /// By `std::fs`, as most stages do it.
    StdRead {
        path: String,
    },
    /// Ends the stage with the denial if it is one.
    Need {
        path: String,
    },
    Http {
        url: String,
        #[serde(default)]
        method: Option<String>,
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// A name and a password.
        #[serde(default)]
        basic: Option<(String, String)>,
        #[serde(default)]
        body: String,
        #[serde(default)]
        redirects: u32,
        /// Ends the stage with the failure.
        #[serde(default)]
        needed: bool,
    },
    WasiHttp {
        scheme: String,
        authority: String,
        path: String,
    },
    Connect {
        to: String,
    },
    Listen {
        at: String,
    },
    Udp {
        at: String,
    },
    Lookup {
        name: String,
    },
    Command {
        run: Vec<String>,
        #[serde(default)]
        env: Vec<(String, String)>,
        #[serde(default)]
        dir: Option<String>,
        #[serde(default)]
        needed: bool,
    },
    Docker(docker::Attempt),
    Kubernetes(kubernetes::Attempt),
    /// The bytes of a secret.
    Read {
        secret: String,
    },
    Placeholder {
        secret: String,
    },
    MemoryTo {
        path: String,
    },
    Exhaust(exhaust::What),
    Output {
        name: String,
        value: String,
    },
    Ambient,
    Clocks,
    Random,
    Sleep {
        millis: u64,
    },
    Print {
        text: String,
    },
    Panic,
    Exit {
        code: i32,
    },
    Answer {
        #[serde(rename = "as")]
        kind: Answer,
        #[serde(default)]
        message: String,
    },
    /// Fails until this attempt.
    FailBefore {
        attempt: u32,
    },
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Passed,
    Failed,
    Misconfigured,
    Errored,
}

impl Stage for Hostile {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let total = settings.tries.len();
        for (index, what) in settings.tries.into_iter().enumerate() {
            match what.attempt(context)? {
                Attempted::Over(outcome) => return Ok(outcome),
                told => log::info(format_args!("RESULT {index} {told}")),
            }
            // events tell what was denied up to here; the log comes in batches, some time later
            progress::update(index as u64 + 1, total as u64, "");
        }
        Ok(Outcome::new("tried everything"))
    }
}

impl Try {
    fn attempt(self, context: &Context) -> Result<Attempted, Failure> {
        Ok(match self {
            Try::Files(attempt) => attempt.run(),
            Try::StdRead { path } => std::fs::read(path).into(),
            Try::Need { path } => Ok::<_, ()>(sdk_files::read(path)?).into(),
            Try::Http { url, method, mut headers, basic, body, redirects, needed } => {
                headers.extend(basic.map(|(name, password)| ("authorization".to_owned(), network::basic(&name, &password))));
                let answer = network::http(url, method, headers, body, redirects);
                if needed { Ok::<_, ()>(answer?).into() } else { answer.into() }
            }
            Try::WasiHttp { scheme, authority, path } => network::wasi_http(&scheme, &authority, &path),
            Try::Connect { to } => std::net::TcpStream::connect(to).map(drop).into(),
            Try::Listen { at } => std::net::TcpListener::bind(at).map(drop).into(),
            Try::Udp { at } => std::net::UdpSocket::bind(at).map(drop).into(),
            Try::Lookup { name } => network::lookup(&name),
            Try::Command { run, env, dir, needed } => {
                let Some(mut command) = commands::Command::from_argv(run) else { return Err(Failure::misconfigured("`run` is empty")) };
                command = command.envs(env);
                if let Some(dir) = dir {
                    command = command.dir(dir);
                }
                match command.run() {
                    Ok(exit) => Attempted::Ok(exit.to_string()),
                    Err(error) if needed => return Err(error.into()),
                    Err(commands::Error::Denied(denial)) => refused(denial.code),
                    Err(error) => Attempted::Error(error.to_string()),
                }
            }
            Try::Docker(attempt) => attempt.attempt(),
            Try::Kubernetes(attempt) => attempt.attempt(),
            Try::Read { secret } => secrets::read(&secret),
            Try::Placeholder { secret } => secrets::placeholder(&secret),
            Try::MemoryTo { path } => secrets::memory_to(&path),
            Try::Exhaust(what) => what.run(),
            Try::Output { name, value } => match outputs::set(&name, &value) {
                Ok(()) => Attempted::Ok(String::new()),
                Err(error) => refused(error),
            },
            Try::Ambient => ambient::everything(context),
            Try::Clocks => ambient::clocks(),
            Try::Random => ambient::random(),
            Try::Sleep { millis } => {
                let began = std::time::Instant::now();
                std::thread::sleep(Duration::from_millis(millis));
                Attempted::Ok(format!("{:?}", began.elapsed()))
            }
            Try::Print { text } => {
                log::info(text);
                Attempted::Ok(String::new())
            }
            Try::Panic => panic!("it was asked to"),
            Try::Exit { code } => std::process::exit(code),
            Try::Answer { kind: Answer::Passed, message } => Attempted::Over(Outcome::new(message)),
            Try::Answer { kind: Answer::Failed, message } => return Err(Failure::Failed(message)),
            Try::Answer { kind: Answer::Misconfigured, message } => return Err(Failure::Misconfigured(message)),
            Try::Answer { kind: Answer::Errored, message } => return Err(Failure::Errored(message)),
            Try::FailBefore { attempt } if context.attempt < attempt => {
                return Err(Failure::failed(format_args!("attempt {} is too early", context.attempt)));
            }
            Try::FailBefore { .. } => Attempted::Ok(format!("attempt {}", context.attempt)),
        })
    }
}

runner_sdk::export!(Hostile);
