//! The jail, tried by real programs: what works in it, and every way out of it that was thought of.
//!
//! This binary is three: the test, the warden of its jails, and the hostile program inside them. Where the machine confines no process
//! the tests are skipped, with the reason; with `PIPELINE_TEST_REQUIRE_ENGINES=1` that is a failure.

#![allow(clippy::print_stdout, reason = "the programs inside, and the test runner, speak on standard output")]

mod attack;
mod escapes;
mod life;
mod machine;
mod outward;
mod tools;
mod world;

use std::process::ExitCode;

use capability_commands::jail::{self, WARDEN_ARGUMENT};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(WARDEN_ARGUMENT) => {
            machine::pretend_to_be_old(&arguments[0]);
            jail::warden_main()
        }
        Some("__attack") => return ExitCode::from(u8::from(attack::run(&arguments[2..]))),
        Some("__runner") => life::run_until_killed(&arguments[2]),
        Some("__probe") => return machine::probe_where(&arguments[2]),
        _ => {}
    }

    let trials = trials();
    if let Err(unsupported) = jail::probe() {
        println!("skipped, all {} of them: {unsupported}", trials.len());
        let required = std::env::var("PIPELINE_TEST_REQUIRE_ENGINES").is_ok_and(|value| value == "1");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trials() -> Vec<Trial> {
    let all = [escapes::CASES, life::CASES, machine::CASES, outward::CASES, tools::CASES].concat();
    all.into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
        })
        .collect()
}

/// A test's name and body.
pub type Case = (&'static str, fn());
