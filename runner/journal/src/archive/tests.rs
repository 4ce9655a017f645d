use super::*;

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn listed(path: &str, bytes: &[u8]) -> Listed {
    Listed { path: path.to_owned(), size: bytes.len() as u64, digest: digest(bytes) }
}

/// An archive with these entries behind a list of those files.
fn archive(files: &[Listed], entries: impl FnOnce(&mut tar::Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
    let contents = Contents { format: FORMAT, run: "r".to_owned(), runner: "0".to_owned(), files: files.to_vec() };
    let list = serde_json::to_vec(&contents).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_data(&mut head(list.len() as u64), LIST, &list[..]).unwrap();
    entries(&mut tar);
    tar.into_inner().unwrap().finish().unwrap()
}

/// An entry whose header says exactly this, checked by nobody.
fn raw(tar: &mut tar::Builder<GzEncoder<Vec<u8>>>, path: &str, kind: EntryType, size: u64, bytes: &[u8]) {
    let mut header = head(size);
    header.set_entry_type(kind);
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    if kind == EntryType::Symlink {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn unpacked(bytes: &[u8], bounds: Bounds) -> (Result<Contents>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (file, into) = (folder.path().join("run.tar.gz"), folder.path().join("a/b/into"));
    std::fs::write(&file, bytes).unwrap();
    std::fs::create_dir_all(&into).unwrap();
    let result = unpack(&file, &into, bounds);
    // nothing beside the folder
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
    (result, std::fs::read_dir(&into).unwrap().count())
}

fn refused(bytes: &[u8]) -> ArchiveError {
    unpacked(bytes, Bounds::default()).0.expect_err("it is refused")
}

#[test]
fn what_is_packed_is_unpacked_and_the_same_run_makes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, vec![b'x'; 700_000]).unwrap();
    let component = b"component".to_vec();
    let long = format!("run/logs/{}-01234567.1.log.index", "s".repeat(80));
    let mut parts = BTreeMap::new();
    parts.insert(long.clone(), Part::File(log.clone()));
    parts.insert("run/journal.sqlite3".to_owned(), Part::Bytes(b"journal".to_vec()));
    parts.insert(format!("plugins/{}.wasm", digest(&component)), Part::Bytes(component.clone()));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let contents = pack("r", &parts, &mut first, Path::new("to")).unwrap();
    pack("r", &parts, &mut second, Path::new("to")).unwrap();
    assert_eq!(first, second);

    let (file, into) = (folder.path().join("run.tar.gz"), folder.path().join("into"));
    std::fs::write(&file, &first).unwrap();
    std::fs::create_dir(&into).unwrap();
    assert_eq!(unpack(&file, &into, Bounds::default()).unwrap(), contents);
    assert_eq!(std::fs::read(into.join(&long)).unwrap(), std::fs::read(&log).unwrap());
    assert_eq!(std::fs::read(into.join(format!("plugins/{}.wasm", digest(&component)))).unwrap(), component);
}

#[test]
fn places_outside_of_a_run_are_refused() {
    for path in [
        "../evil",
        "run/logs/../../../evil",
        "/etc/passwd",
        "run/logs/..",
        "run/logs/.hidden",
        "run/logs/a/b",
        "run/lock",
        "blobs/ab/../../evil",
        "",
        "export.json",
    ] {
        let bytes = archive(&[listed(path, b"x")], |tar| raw(tar, path, EntryType::Regular, 1, b"x"));
        let error = refused(&bytes);
        assert!(matches!(error, ArchiveError::Hostile { .. }), "{path}: {error}");
        // announced as something harmless
        let bytes = archive(&[listed("run/logs/a", b"x")], |tar| raw(tar, path, EntryType::Regular, 1, b"x"));
        assert!(matches!(refused(&bytes), ArchiveError::Hostile { .. }), "{path}");
    }
}

#[test]
fn links_devices_and_folders_are_refused() {
    use EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Symlink, XGlobalHeader, XHeader};
    for kind in [Symlink, Link, Char, Block, Fifo, Directory, GNUSparse, XHeader, XGlobalHeader] {
        let bytes = archive(&[listed("run/logs/a", b"")], |tar| raw(tar, "run/logs/a", kind, 0, b""));
        let error = refused(&bytes);
        assert!(matches!(error, ArchiveError::Hostile { .. }), "{kind:?}: {error}");
    }
}

#[test]
fn bombs_are_refused_before_they_are_read() {
    let huge = Listed { path: "run/logs/a".to_owned(), size: u64::MAX, digest: digest(b"") };
    let error = refused(&archive(&[huge.clone(), Listed { path: "run/logs/b".to_owned(), ..huge }], |_| {}));
    assert!(matches!(error, ArchiveError::TooMuch { .. }), "{error}");
    // the list is modest and the entry is not
    let zeros = vec![0; 4 << 20];
    let error = refused(&archive(&[listed("run/logs/a", b"x")], |tar| {
        raw(tar, "run/logs/a", EntryType::Regular, zeros.len() as u64, &zeros);
    }));
    assert!(matches!(error, ArchiveError::Hostile { .. }), "{error}");
    // a name that would be read into memory
    let error = refused(&archive(&[listed("run/logs/a", b"x")], |tar| {
        raw(tar, "././@LongLink", EntryType::GNULongName, zeros.len() as u64, &zeros);
    }));
    assert!(matches!(error, ArchiveError::Hostile { .. }), "{error}");
    let many = [listed("run/logs/a", b""), listed("run/logs/b", b"")];
    let (result, _) = unpacked(&archive(&many, |_| {}), Bounds { files: 1, bytes: 1 });
    assert!(matches!(result, Err(ArchiveError::TooMuch { .. })));
}

#[test]
fn other_bytes_than_announced_are_refused() {
    let bytes = archive(&[listed("run/logs/a", b"x")], |tar| raw(tar, "run/logs/a", EntryType::Regular, 1, b"y"));
    assert!(refused(&bytes).to_string().contains("another digest"));
    // by content, and not under its digest
    let wrong = Listed { path: format!("plugins/{}.wasm", digest(b"y")), ..listed("", b"x") };
    let bytes = archive(std::slice::from_ref(&wrong), |tar| raw(tar, &wrong.path, EntryType::Regular, 1, b"x"));
    assert!(matches!(refused(&bytes), ArchiveError::Hostile { .. }));
}

#[test]
fn every_truncation_is_found_out() {
    let text = b"some text of a log\n".repeat(20);
    let whole = archive(&[listed("run/logs/a", &text)], |tar| {
        raw(tar, "run/logs/a", EntryType::Regular, text.len() as u64, &text);
    });
    assert!(unpacked(&whole, Bounds::default()).0.is_ok());
    for length in 0..whole.len() {
        let (result, _) = unpacked(&whole[..length], Bounds::default());
        assert!(matches!(result, Err(ArchiveError::Broken { .. })), "{length} of {}: {result:?}", whole.len());
    }
    let missing = archive(&[listed("run/logs/a", b"x")], |_| {});
    assert!(refused(&missing).to_string().contains("is missing"));
}

#[test]
fn a_newer_format_is_named() {
    let bytes = br#"{"format":99,"something":"else"}"#;
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_data(&mut head(bytes.len() as u64), LIST, &bytes[..]).unwrap();
    let archive = tar.into_inner().unwrap().finish().unwrap();
    assert!(matches!(refused(&archive), ArchiveError::Newer { found: 99, .. }));
}
