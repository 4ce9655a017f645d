//! Attempts to use up what the machine has.

use std::hint::black_box;

use runner_sdk::{log, outputs, report};
use serde::Deserialize;

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::random::random::get_random_bytes;
use crate::result::{Attempted, refused};

#[derive(Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum What {
    /// Memory, in the way of most programs: without it they can't go on.
    Memory {
        mib: usize,
    },
    /// The same, by a program that can.
    MemoryPolitely {
        mib: usize,
    },
    Time,
    Stack,
    Stdout {
        mib: usize,
    },
    Log {
        mib: usize,
    },
    /// Things to wait for.
    Pollables {
        count: usize,
    },
    Files {
        path: String,
        count: usize,
    },
    /// One string to the host.
    Call {
        mib: usize,
    },
    /// One list from the host.
    Random {
        mib: u64,
    },
    Outputs {
        count: usize,
        bytes: usize,
    },
    Findings {
        count: usize,
        bytes: usize,
    },
}

impl What {
    #[allow(clippy::print_stdout)] // flooding it is what one of them is for
    pub fn run(self) -> Attempted {
        match self {
            What::Memory { mib } => {
                let held: Vec<Vec<u8>> = (0..mib).map(|_| black_box(vec![1; 1 << 20])).collect();
                Attempted::Ok(format!("{} MiB", held.len()))
            }
            What::MemoryPolitely { mib } => {
                let mut held: Vec<u8> = Vec::new();
                match held.try_reserve_exact(mib << 20) {
                    Ok(()) => Attempted::Ok(format!("{mib} MiB")),
                    Err(error) => refused(error),
                }
            }
            What::Time => loop {
                black_box(());
            },
            What::Stack => Attempted::Ok(deeper(1).to_string()),
            What::Stdout { mib } => {
                let line = format!("{}\n", "x".repeat(1023));
                (0..mib << 10).for_each(|_| print!("{line}"));
                Attempted::Ok(format!("{mib} MiB"))
            }
            What::Log { mib } => {
                let line = "x".repeat(1023);
                (0..mib << 10).for_each(|_| log::info(&line));
                Attempted::Ok(format!("{mib} MiB"))
            }
            What::Pollables { count } => {
                let held: Vec<_> = (0..count).map(|_| subscribe_duration(1)).collect();
                Attempted::Ok(held.len().to_string())
            }
            What::Files { path, count } => {
                let mut held = Vec::new();
                for _ in 0..count {
                    match std::fs::File::open(&path) {
                        Ok(file) => held.push(file),
                        Err(error) => return Attempted::Error(format!("{error} after {}", held.len())),
                    }
                }
                Attempted::Ok(held.len().to_string())
            }
            What::Call { mib } => {
                log::info("x".repeat(mib << 20));
                Attempted::Ok(format!("{mib} MiB"))
            }
            What::Random { mib } => Attempted::Ok(get_random_bytes(mib << 20).len().to_string()),
            What::Outputs { count, bytes } => {
                for number in 0..count {
                    if let Err(error) = outputs::set(&format!("output-{number}"), &"x".repeat(bytes)) {
                        return refused(format_args!("{error} at {number}"));
                    }
                }
                Attempted::Ok(count.to_string())
            }
            What::Findings { count, bytes } => {
                for _ in 0..count {
                    report::add_findings([finding("x".repeat(bytes))]);
                }
                Attempted::Ok(count.to_string())
            }
        }
    }
}

fn finding(message: String) -> report::Finding {
    report::Finding {
        severity: report::Severity::Info,
        tool: "hostile".to_owned(),
        rule: String::new(),
        message,
        location: None,
        help: String::new(),
        url: String::new(),
        counted: false,
    }
}

/// Not a loop in disguise: what is added afterwards has to be kept on the stack.
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    black_box(depth).wrapping_add(deeper(depth + 1))
}
