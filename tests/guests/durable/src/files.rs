//! Everything that can be done with files, through `std`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use runner_sdk::Failure;

const WORK: &str = "/workspace/work";

fn at<T>(what: &str, result: std::io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::errored(format_args!("{what}: {error}")))
}

fn work(path: &str) -> String {
    format!("{WORK}/{path}")
}

/// A file that stays open across everything else, and is renamed meanwhile.
pub struct Diary(File);

impl Diary {
    pub fn begin() -> Result<Diary, Failure> {
        let options = OpenOptions::new().read(true).write(true).create_new(true).open(work("diary.tmp"));
        let mut diary = Diary(at("diary", options)?);
        diary.note("begun")?;
        at("diary", fs::rename(work("diary.tmp"), work("diary.txt")))?;
        diary.note("renamed")?;
        Ok(diary)
    }

    pub fn note(&mut self, what: &str) -> Result<(), Failure> {
        at("diary", writeln!(self.0, "{what}"))
    }

    /// What it says.
    pub fn end(mut self) -> Result<String, Failure> {
        at("diary", self.0.sync_all())?;
        at("diary", self.0.seek(SeekFrom::Start(0)))?;
        let mut text = String::new();
        at("diary", self.0.read_to_string(&mut text))?;
        Ok(text.lines().collect::<Vec<_>>().join("; "))
    }
}

pub fn everything() -> Result<(), Failure> {
    given()?;
    at("mkdir", fs::create_dir(work("folder")))?;
    at("mkdir", fs::create_dir(work("folder/deep")))?;
    made()?;
    appended()?;
    moved()?;
    at("rm", fs::write(work("folder/deep/gone.txt"), "gone"))?;
    at("rm", fs::remove_file(work("folder/deep/gone.txt")))?;
    at("rmdir", fs::remove_dir(work("folder/deep")))?;
    println!("again: {:?}", fs::create_dir(work("folder")).map_err(|error| error.kind()));
    println!("missing: {:?}", fs::metadata(work("nothing")).map(|_| ()).map_err(|error| error.kind()));
    println!("read-only: {}", fs::write("/workspace/given/text.txt", "no").is_err());
    Ok(())
}

/// What may only be read: whole, and in parts.
fn given() -> Result<(), Failure> {
    let mut names: Vec<_> = at("list", fs::read_dir("/workspace/given"))?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    println!("given: {names:?}");
    let mut file = at("given", File::open("/workspace/given/text.txt"))?;
    let mut part = [0; 16];
    at("given", file.read_exact(&mut part))?;
    at("given", file.seek(SeekFrom::Start(4_000)))?;
    let mut rest = Vec::new();
    at("given", file.read_to_end(&mut rest))?;
    println!("given: {:?} and {} bytes", String::from_utf8_lossy(&part), rest.len());
    Ok(())
}

/// Made exclusively, cut, lengthened, dated; and one that is written in more than one piece.
fn made() -> Result<(), Failure> {
    let mut file = at("create", OpenOptions::new().write(true).create_new(true).open(work("folder/a.txt")))?;
    at("write", file.write_all(b"0123456789"))?;
    at("set size", file.set_len(4))?;
    at("set size", file.set_len(6))?;
    at("sync", file.sync_data())?;
    let dated = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    at("set times", file.set_modified(dated))?;
    println!("a.txt: {} bytes", at("stat", file.metadata())?.len());
    drop(file);
    let status = at("stat", fs::metadata(work("folder/a.txt")))?;
    println!("a.txt: {} bytes, dated {}", status.len(), status.modified().ok() == Some(dated));
    println!("exclusively: {}", OpenOptions::new().write(true).create_new(true).open(work("folder/a.txt")).is_err());
    at("write", fs::write(work("large.bin"), vec![b'x'; 1_200_000]))?;
    println!("large.bin: {}", at("stat", fs::metadata(work("large.bin")))?.len());
    at("truncate", fs::write(work("large.bin"), "small now"))?;
    Ok(())
}

/// Lines at the end of a file, with a look at it after each; and through two descriptors in turn.
fn appended() -> Result<(), Failure> {
    let open = || OpenOptions::new().append(true).create(true).open(work("log.txt"));
    let mut log = at("append", open())?;
    for line in ["one", "two", "three"] {
        at("append", writeln!(log, "{line}"))?;
        println!("log.txt: {:?}", at("read", fs::read_to_string(work("log.txt")))?);
    }
    let mut other = at("append", open())?;
    at("append", writeln!(other, "four"))?;
    at("append", writeln!(log, "five"))?;
    at("append", writeln!(other, "six"))?;
    drop((log, other));
    println!("log.txt: {} bytes", at("stat", fs::metadata(work("log.txt")))?.len());
    Ok(())
}

/// Renames to a free name and onto a file, links of both kinds.
#[allow(deprecated)] // the one stable function that makes symbolic links everywhere
fn moved() -> Result<(), Failure> {
    at("rename", fs::rename(work("folder/a.txt"), work("folder/b.txt")))?;
    at("write", fs::write(work("c.txt"), "c"))?;
    at("rename", fs::rename(work("c.txt"), work("folder/b.txt")))?;
    at("link", fs::hard_link(work("folder/b.txt"), work("hard.txt")))?;
    at("append", OpenOptions::new().append(true).open(work("hard.txt")).and_then(|mut file| file.write_all(b" and more")))?;
    println!("b.txt: {:?}", at("read", fs::read_to_string(work("folder/b.txt")))?);
    at("symlink", fs::soft_link("folder/b.txt", work("soft.txt")))?;
    println!("soft.txt: {:?}", at("read link", fs::read_link(work("soft.txt")))?);
    println!("soft.txt: {:?}", at("read", fs::read_to_string(work("soft.txt")))?);
    at("rename", fs::rename(work("folder"), work("moved")))?;
    at("rename", fs::rename(work("moved"), work("folder")))?;
    Ok(())
}

/// Everything that is below `work/`, into `work/state.txt` and the log.
pub fn state() -> Result<(), Failure> {
    let mut lines = Vec::new();
    collect(Path::new(WORK), &mut lines)?;
    let text = lines.join("\n") + "\n";
    print!("{text}");
    at("state", fs::write(work("state.txt"), text))
}

fn collect(folder: &Path, lines: &mut Vec<String>) -> Result<(), Failure> {
    let mut entries: Vec<_> = at("list", fs::read_dir(folder))?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(WORK).unwrap_or(&path).display().to_string();
        let status = at(&name, fs::symlink_metadata(&path))?;
        if status.is_dir() {
            lines.push(format!("{name}/"));
            collect(&path, lines)?;
        } else if status.is_symlink() {
            lines.push(format!("{name} -> {}", at(&name, fs::read_link(&path))?.display()));
        } else {
            lines.push(format!("{name}: {:?}", at(&name, fs::read_to_string(&path))?));
        }
    }
    Ok(())
}

/// What an earlier stage left.
pub fn handed() -> Result<(), Failure> {
    let text = at("state.txt", fs::read_to_string(work("state.txt")))?;
    println!("handed {} lines", text.lines().count());
    at("write", fs::write(work("received.txt"), text))
}
