//! A source of metrics that says what a test has it say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use end_to_end::{Reply, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Not yet.
    Nothing,
    NoNumber,
    Well,
    Ill,
}

type All = BTreeMap<String, Says>;

/// `{"value":0.0}` at every path, if it is told nothing else.
pub struct Source {
    server: Server,
    says: Arc<Mutex<All>>,
}

fn lock(says: &Mutex<All>) -> MutexGuard<'_, All> {
    says.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    pub fn start() -> Source {
        let says: Arc<Mutex<All>> = Arc::default();
        let known = says.clone();
        let server = Server::answering(move |_, asked| {
            let body = loop {
                match lock(&known).get(&asked.path).copied().unwrap_or(Says::Well) {
                    Says::Nothing => {}
                    Says::NoNumber => break "{}",
                    Says::Well => break r#"{"value":0.0}"#,
                    Says::Ill => break r#"{"value":0.5}"#,
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            Reply { status: 200, headers: Vec::new(), body: body.to_owned() }
        });
        Source { server, says }
    }

    pub fn url(&self) -> String {
        self.server.url("")
    }

    pub fn was_asked(&self) -> bool {
        !self.server.asked().is_empty()
    }

    pub fn says(&self, path: &str, what: Says) {
        lock(&self.says).insert(path.to_owned(), what);
    }
}

impl Drop for Source {
    /// Nobody waits for it any longer.
    fn drop(&mut self) {
        lock(&self.says).clear();
    }
}
