//! A stage that does one thing often, to be measured from outside.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use runner_sdk::{Context, Failure, Outcome, Stage};

struct Bench;

#[derive(serde::Deserialize)]
struct Settings {
    r#do: What,
    amount: u64,
    #[serde(default)]
    path: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// `amount` milliseconds.
    Sleep,
    /// `amount` bytes, in lines of 128.
    Print,
    /// `path`, `amount` times; whether it opens does not matter.
    Open,
    /// `path`, to its end, in pieces of 1 MiB.
    Read,
    /// 16 bytes at the beginning of `path`, `amount` times, each of them an effect that may be repeated.
    Write,
    /// `path` to another name and back, `amount` times in all, each of them an effect that must happen once.
    Rename,
    /// As `Write`, then says so, and sleeps for three seconds.
    WriteAndSleep,
}

impl Stage for Bench {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        match settings.r#do {
            What::Sleep => std::thread::sleep(Duration::from_millis(settings.amount)),
            What::Print => print(settings.amount)?,
            What::Open => {
                for _ in 0..settings.amount {
                    let _ = std::fs::File::open(&settings.path);
                }
            }
            What::Read => read(&settings.path)?,
            What::Write => write(&settings.path, settings.amount)?,
            What::Rename => {
                let mut names = [settings.path.clone(), format!("{}.renamed", settings.path)];
                std::fs::write(&names[0], "")?;
                for _ in 0..settings.amount {
                    std::fs::rename(&names[0], &names[1])?;
                    names.swap(0, 1);
                }
            }
            What::WriteAndSleep => {
                write(&settings.path, settings.amount)?;
                std::io::stdout().lock().write_all(b"written\n")?;
                std::thread::sleep(Duration::from_secs(3));
            }
        }
        Ok(Outcome::default())
    }
}

fn read(path: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

fn write(path: &str, amount: u64) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for number in 0..amount {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{number:15}\n").as_bytes())?;
    }
    Ok(())
}

fn print(amount: u64) -> std::io::Result<()> {
    let mut chunk = [b'x'; 4096];
    chunk.iter_mut().skip(127).step_by(128).for_each(|byte| *byte = b'\n');
    let mut stdout = std::io::stdout().lock();
    for _ in 0..amount / chunk.len() as u64 {
        stdout.write_all(&chunk)?;
    }
    stdout.flush()
}

runner_sdk::export!(Bench);
