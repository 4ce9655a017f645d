//! Programs in containers of the cluster.

use std::time::{Duration, Instant};

use capability::output::Sink;
use event::Stream;
use tokio::sync::Notify;

use crate::attempt::Attempt;
use crate::effect::{Answer, Exec, Exit, Fault};

/// Where captures are, below the scratch folder.
const FOLDER: &str = "kubernetes";
/// The number of an output in logs, beyond those of commands and containers.
const FIRST: u32 = 1 << 21;
/// Of a program whose end nobody waited for.
const NO_CODE: i32 = -1;

impl Attempt {
    /// Runs a program in a container to its end.
    pub async fn exec(&self, exec: &Exec) -> Answer<Exit> {
        if exec.arguments.is_empty() {
            return Err(Fault::Invalid("there is no program to run".to_owned()));
        }
        let began = Instant::now();
        let container = self.container(&exec.target, exec.container.as_ref()).await?;
        let program = kubernetes::Exec { container, arguments: exec.arguments.clone(), stdin: exec.stdin.clone() };
        let (cluster, pod) = (self.cluster().await?, exec.target.whole());
        let stream = Stream::Command(FIRST + exec.number);
        let open = |which, to| Sink::open(&self.setting, stream, FOLDER, &format!("{}.{which}", exec.number), to);
        let (mut stdout, mut stderr) = (open("stdout", exec.stdout)?, open("stderr", exec.stderr)?);
        let (mut broken, full) = (None, Notify::new());
        let ran = {
            let printed = |output, bytes: &[u8]| {
                let sink = if output == kubernetes::Output::Stdout { &mut stdout } else { &mut stderr };
                if let Err(error) = sink.write(bytes) {
                    broken.get_or_insert(Fault::from(error));
                    full.notify_one();
                }
            };
            tokio::select! {
                ended = cluster.exec(&pod, &program, printed) => Some(ended),
                () = full.notified() => None,
                () = tokio::time::sleep(exec.timeout.unwrap_or(Duration::MAX)) => None,
            }
        };
        let captured = [stdout.finish(), stderr.finish()];
        self.setting.log.flush(Some(stream));
        if let Some(fault) = broken {
            return Err(fault);
        }
        let [stdout, stderr] = captured;
        let (code, timed_out) = match ran {
            Some(code) => (code?, false),
            None => (NO_CODE, true),
        };
        Ok(Exit { code, timed_out, duration: began.elapsed(), stdout: stdout?, stderr: stderr? })
    }
}
