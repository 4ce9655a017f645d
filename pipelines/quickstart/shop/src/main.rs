//! Starts the shop with its settings from the environment, and ends it on SIGTERM or SIGINT.

use std::io::Write;
use std::process::ExitCode;

use shop::{Server, Settings, signal};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "shop: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    if std::env::args().any(|argument| argument == "--version") {
        say(concat!("shop ", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let signals = signal::watch().map_err(|error| format!("cannot watch for signals: {error}"))?;
    if let Some(time) = settings.crash_after {
        std::thread::spawn(move || {
            std::thread::sleep(time);
            say("crashing, as CRASH_AFTER_MS asks");
            std::process::exit(1);
        });
    }
    let address = (settings.host.clone(), settings.port);
    let server = Server::bind(settings, say)
        .map_err(|error| format!("cannot listen on {}:{}: {error}", address.0, address.1))?;
    say(&format!("listening on http://{}", server.address()));

    let stopper = server.stopper();
    std::thread::spawn(move || {
        let name = signals.wait();
        say(&format!("{name}: finishing what is running"));
        stopper.stop();
    });
    server.run();
    say("stopped");
    Ok(())
}

/// One line to standard output. A reader that has gone away must not end the service, as `println!` would.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
