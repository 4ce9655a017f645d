use std::os::unix::fs::{PermissionsExt, symlink};
use std::{fs, io::Cursor};

use super::*;

fn packed(entries: &[(&str, EntryType, &str, u32)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, content, mode) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // as bytes: the crate's own functions would refuse what a hostile container sends
        let name = path.as_bytes();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        let body = if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name_literal(content).unwrap();
            ""
        } else {
            content
        };
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn folder(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn unpacked(into: &Path, entries: &[(&str, EntryType, &str, u32)]) -> Answer<()> {
    unpack(&mut Cursor::new(packed(entries)), &folder(into), &|path| !path.starts_with("kept"), 1000)
}

#[test]
fn files_and_folders_come_out() {
    let dir = tempfile::tempdir().unwrap();
    let entries =
        [("a/", EntryType::Directory, "", 0o755), ("a/b", EntryType::Regular, "hello", 0o4755), ("./c", EntryType::Regular, "x", 0o600)];
    unpacked(dir.path(), &entries).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("a/b")).unwrap(), "hello");
    let mode = fs::metadata(dir.path().join("a/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7000, 0, "no set-user-id bit");
    // once more, over what is there
    unpacked(dir.path(), &entries).unwrap();
}

#[test]
fn nothing_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("file"), inside.join("file")).unwrap();
    for entries in [
        [("../x", EntryType::Regular, "x", 0o644)].as_slice(),
        &[("/x", EntryType::Regular, "x", 0o644)],
        &[("a/../../x", EntryType::Regular, "x", 0o644)],
        &[("link/x", EntryType::Regular, "x", 0o644)],
        &[("new", EntryType::Symlink, "../out", 0o777), ("new/x", EntryType::Regular, "x", 0o644)],
        &[("kept/x", EntryType::Regular, "x", 0o644)],
    ] {
        assert!(unpacked(&inside, entries).is_err(), "{entries:?}");
    }
    // what is a link is replaced, never followed; links and devices are left out
    let entries = [
        ("file", EntryType::Regular, "x", 0o644),
        ("s", EntryType::Symlink, "/etc/passwd", 0o777),
        ("h", EntryType::Link, "file", 0o644),
        ("d", EntryType::Char, "", 0o666),
        ("f", EntryType::Fifo, "", 0o666),
    ];
    unpacked(&inside, &entries).unwrap();
    assert!(fs::symlink_metadata(inside.join("file")).unwrap().is_file());
    assert!(["s", "h", "d", "f"].iter().all(|name| fs::symlink_metadata(inside.join(name)).is_err()));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn there_is_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(600);
    let entries = [("a", EntryType::Regular, long.as_str(), 0o644), ("b", EntryType::Regular, long.as_str(), 0o644)];
    assert!(matches!(unpacked(dir.path(), &entries), Err(Fault::Limit(_))));
}

#[test]
fn what_goes_in_is_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/hidden")).unwrap();
    fs::write(dir.path().join("a/file"), "hello").unwrap();
    fs::write(dir.path().join("a/hidden/x"), "secret").unwrap();
    symlink("/etc/passwd", dir.path().join("a/link")).unwrap();
    let mut bytes = Vec::new();
    let to: &mut dyn Write = &mut bytes;
    let mut builder = Builder::new(to);
    let skip = |path: &Path| path == Path::new("hidden");
    add(&mut builder, folder(&dir.path().join("a")), Path::new(""), &skip, &|_| true, Ids { uid: 1, gid: 2 }).unwrap();
    builder.into_inner().unwrap();
    let mut archive = Archive::new(Cursor::new(bytes));
    let found: Vec<(String, EntryType)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().entry_type())
        })
        .collect();
    assert_eq!(found, [("file".to_owned(), EntryType::Regular), ("link".to_owned(), EntryType::Symlink)]);
}
