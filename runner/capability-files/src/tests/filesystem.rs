//! What WASI promises, on real trees.

use super::*;
use crate::host::bindings::wasi::clocks::wall_clock::Datetime;
use crate::host::bindings::wasi::filesystem::types::{Advice, DescriptorType, NewTimestamp};

const ALL: &str = r#"files = [{ path = ".", access = "write" }]"#;

#[tokio::test]
async fn what_is_written_can_be_read() {
    let mut stage = stage(ALL, |_| {});
    stage.write("a.txt", "hello").await.unwrap();
    assert_eq!(stage.read("a.txt").await.unwrap(), "hello");
    assert_eq!(stage.on_disk("a.txt"), "hello");
    stage.write("a.txt", "hi").await.unwrap();
    assert_eq!(stage.on_disk("a.txt"), "hi", "truncated first");
    assert_eq!(stage.read("b.txt").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.read("a.txt/b").await, Err(ErrorCode::NotDirectory));
    assert_eq!(stage.read("a.txt/").await, Err(ErrorCode::NotDirectory));
    assert_eq!(stage.read("").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.read("x\0y").await, Err(ErrorCode::Invalid));
    assert_eq!(stage.read(&"a/".repeat(3000)).await, Err(ErrorCode::NameTooLong));
    assert_eq!(stage.read(&"a".repeat(300)).await, Err(ErrorCode::NameTooLong));
}

#[tokio::test]
async fn mounts_are_what_is_granted() {
    let mut stage = stage(ALL, |_| {});
    let listed = stage.state.get_directories().unwrap();
    assert_eq!(listed.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["/workspace", "/scratch"]);
    let mut reader = super::stage(r#"files = [{ path = "src", access = "read" }]"#, |root| tree(root, &["src/a"]));
    let root = reader.root();
    assert_eq!(code(reader.state.get_flags(root)).unwrap(), READ);
    let scratch = reader.mounts[1];
    let file = reader.open_from(scratch, "x", OpenFlags::CREATE, WRITE).await.unwrap();
    code(reader.state.write(descriptor(file), b"1".to_vec(), 0).await).unwrap();
    assert_eq!(std::fs::read(reader.folder.path().join("scratch/x")).unwrap(), b"1");

    let setting = capability::testing::setting(reader.folder.path(), None);
    let (boundary, _) = capability::testing::boundary();
    let mut state = StageState::new(setting.clone(), boundary);
    state.enter(Files.enter(None, &setting).unwrap());
    let listed = state.get_directories().unwrap();
    assert_eq!(listed.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["/scratch"], "without a grant");
}

#[tokio::test]
async fn open_flags() {
    let mut stage = stage(ALL, |root| tree(root, &["file", "dir/"]));
    let (none, create) = (OpenFlags::empty(), OpenFlags::CREATE);
    for (path, how, flags, expected) in [
        ("file", create | OpenFlags::EXCLUSIVE, WRITE, Err(ErrorCode::Exist)),
        ("dir", create | OpenFlags::EXCLUSIVE, WRITE, Err(ErrorCode::Exist)),
        ("file", OpenFlags::DIRECTORY, READ, Err(ErrorCode::NotDirectory)),
        ("file", none, READ | WRITE | DescriptorFlags::MUTATE_DIRECTORY, Ok(())),
        ("dir", none, WRITE, Err(ErrorCode::IsDirectory)),
        ("dir", create, READ, Err(ErrorCode::IsDirectory)),
        ("dir", OpenFlags::TRUNCATE, WRITE, Err(ErrorCode::IsDirectory)),
        ("new/", create, WRITE, Err(ErrorCode::IsDirectory)),
        ("new", create | OpenFlags::DIRECTORY, READ, Err(ErrorCode::Invalid)),
        ("no/new", create, WRITE, Err(ErrorCode::NoEntry)),
        ("dir", none, READ, Ok(())),
        ("dir/", none, READ | DescriptorFlags::MUTATE_DIRECTORY, Ok(())),
        ("dir/..", none, READ, Ok(())),
        ("file", create, READ, Ok(())),
        ("new", create | OpenFlags::EXCLUSIVE, WRITE, Ok(())),
        ("synced", create, WRITE | DescriptorFlags::FILE_INTEGRITY_SYNC, Ok(())),
    ] {
        assert_eq!(stage.open(path, how, flags).await.map(|_| ()), expected, "{path} {how:?} {flags:?}");
    }
}

#[tokio::test]
async fn descriptors_do_what_they_were_opened_for() {
    let mut stage = stage(ALL, |root| tree(root, &["file", "dir/"]));
    let reader = stage.open("file", OpenFlags::empty(), READ).await.unwrap();
    let writer = stage.open("file", OpenFlags::empty(), WRITE).await.unwrap();
    let dir = stage.open("dir", OpenFlags::empty(), READ).await.unwrap();
    let state = &mut stage.state;
    assert_eq!(code(state.write(descriptor(reader), vec![1], 0).await), Err(ErrorCode::BadDescriptor));
    assert_eq!(code(state.set_size(descriptor(reader), 0).await), Err(ErrorCode::BadDescriptor));
    assert_eq!(code(state.read(descriptor(writer), 1, 0)), Err(ErrorCode::BadDescriptor));
    assert!(code(state.write_via_stream(descriptor(reader), 0)).is_err());
    assert!(code(state.read_via_stream(descriptor(writer), 0)).is_err());
    assert_eq!(code(state.read(descriptor(dir), 1, 0)), Err(ErrorCode::IsDirectory));
    assert_eq!(code(state.advise(descriptor(dir), 0, 0, Advice::Normal)), Err(ErrorCode::BadDescriptor));
    code(state.advise(descriptor(reader), 0, 10, Advice::WillNeed)).unwrap();
    assert_eq!(code(state.stat_at(descriptor(reader), FOLLOW, "x".into()).await).err(), Some(ErrorCode::NotDirectory));
    assert!(code(state.read_directory(descriptor(reader)).await).is_err());
    assert_eq!(code(state.get_type(descriptor(reader))).unwrap(), DescriptorType::RegularFile);
    assert_eq!(code(state.get_type(descriptor(dir))).unwrap(), DescriptorType::Directory);
    assert_eq!(code(state.get_flags(descriptor(writer))).unwrap(), WRITE);
    assert!(code(state.get_flags(descriptor(dir))).unwrap().contains(DescriptorFlags::MUTATE_DIRECTORY));
    for descriptor_ in [reader, writer, dir] {
        code(state.sync(descriptor(descriptor_)).await).unwrap();
        code(state.sync_data(descriptor(descriptor_)).await).unwrap();
    }
}

#[tokio::test]
async fn positions_and_the_end_of_a_file() {
    let mut stage = stage(ALL, |root| std::fs::write(root.join("f"), "0123456789").unwrap());
    let file = stage.open("f", OpenFlags::empty(), READ | WRITE).await.unwrap();
    let state = &mut stage.state;
    assert_eq!(code(state.read(descriptor(file), 4, 2)).unwrap(), (b"2345".to_vec(), false));
    assert_eq!(code(state.read(descriptor(file), 4, 8)).unwrap(), (b"89".to_vec(), true));
    assert_eq!(code(state.read(descriptor(file), 4, 100)).unwrap(), (vec![], true));
    assert_eq!(code(state.read(descriptor(file), 0, 0)).unwrap(), (vec![], false));
    assert_eq!(code(state.read(descriptor(file), 1, u64::MAX)), Err(ErrorCode::Invalid));
    assert_eq!(code(state.write(descriptor(file), b"x".to_vec(), u64::MAX).await), Err(ErrorCode::FileTooLarge));
    code(state.write(descriptor(file), b"ab".to_vec(), 12).await).unwrap();
    assert_eq!(code(state.read(descriptor(file), 10, 8)).unwrap().0, b"89\0\0ab", "the hole is zeros");
    code(state.set_size(descriptor(file), 3).await).unwrap();
    code(state.set_size(descriptor(file), 5).await).unwrap();
    assert_eq!(code(state.read(descriptor(file), 10, 0)).unwrap().0, b"012\0\0");
    assert_eq!(code(state.set_size(descriptor(file), u64::MAX).await), Err(ErrorCode::FileTooLarge));
}

#[tokio::test]
async fn names_are_made_moved_and_removed() {
    let mut stage = stage(ALL, |root| tree(root, &["file", "full/x"]));
    stage.mkdir("dir").await.unwrap();
    stage.mkdir("dir/sub/").await.unwrap();
    assert_eq!(stage.mkdir("dir").await, Err(ErrorCode::Exist));
    assert_eq!(stage.mkdir(".").await, Err(ErrorCode::Exist));
    assert_eq!(stage.mkdir("no/dir").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.unlink("dir").await, Err(ErrorCode::IsDirectory));
    assert_eq!(stage.unlink("no").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.unlink("file/").await, Err(ErrorCode::NotDirectory));
    assert_eq!(stage.rmdir("file").await, Err(ErrorCode::NotDirectory));
    assert_eq!(stage.rmdir("full").await, Err(ErrorCode::NotEmpty));
    assert_eq!(stage.rmdir("dir/.").await, Err(ErrorCode::Invalid));
    stage.rmdir("dir/sub").await.unwrap();
    stage.rename("file", "dir/moved").await.unwrap();
    assert_eq!(stage.read("dir/moved").await.unwrap(), "file");
    assert_eq!(stage.rename("file", "x").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.rename("dir", "dir/inside").await, Err(ErrorCode::Invalid));
    assert_eq!(stage.rename("dir/moved", "full").await, Err(ErrorCode::IsDirectory));
    assert_eq!(stage.rename("dir/moved", "new/").await, Err(ErrorCode::NotDirectory));
    stage.rename("dir", "renamed/").await.unwrap();
    stage.rename("renamed/moved", "full/x").await.unwrap();
    assert_eq!(stage.on_disk("full/x"), "file", "replaced");
    stage.unlink("full/x").await.unwrap();
    stage.rmdir("full").await.unwrap();
    assert_eq!(stage.list(".").await.unwrap(), ["renamed"]);
}

#[tokio::test]
async fn from_one_mount_to_the_other() {
    let mut stage = stage(ALL, |root| tree(root, &["file"]));
    let (workspace, scratch) = (stage.mounts[0], stage.mounts[1]);
    code(stage.state.rename_at(descriptor(workspace), "file".into(), descriptor(scratch), "moved".into()).await).unwrap();
    assert_eq!(std::fs::read_to_string(stage.folder.path().join("scratch/moved")).unwrap(), "file");
}

#[tokio::test]
async fn links() {
    let mut stage = stage(ALL, |root| tree(root, &["a/file", "b/"]));
    stage.symlink("../a/file", "b/link").await.unwrap();
    assert_eq!(stage.readlink("b/link").await.unwrap(), "../a/file");
    assert_eq!(stage.readlink("a/file").await, Err(ErrorCode::Invalid));
    assert_eq!(stage.read("b/link").await.unwrap(), "a/file");
    assert_eq!(stage.symlink("x", "b/link").await, Err(ErrorCode::Exist));
    assert_eq!(stage.symlink("", "b/empty").await, Err(ErrorCode::NoEntry));
    let link = code(stage.state.stat_at(stage.root(), PathFlags::empty(), "b/link".into()).await).unwrap();
    assert_eq!((link.type_, link.size), (DescriptorType::SymbolicLink, 9));
    assert_eq!(stage.stat("b/link").await.unwrap().type_, DescriptorType::RegularFile);
    let unfollowed = stage.state.open_at(stage.root(), PathFlags::empty(), "b/link".into(), OpenFlags::empty(), READ).await;
    assert_eq!(code(unfollowed).err(), Some(ErrorCode::Loop));

    stage.link("a/file", "b/hard").await.unwrap();
    assert_eq!(stage.stat("b/hard").await.unwrap().link_count, 2);
    assert_eq!(stage.link("a/file", "b/hard").await, Err(ErrorCode::Exist));
    assert_eq!(stage.link("no", "b/x").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.link("a", "b/x").await, Err(ErrorCode::NotPermitted));

    stage.symlink("../a/made", "b/dangling").await.unwrap();
    stage.write("b/dangling", "through").await.unwrap();
    assert_eq!(stage.on_disk("a/made"), "through");
    stage.symlink("loop", "loop").await.unwrap();
    assert_eq!(stage.read("loop").await, Err(ErrorCode::Loop));
    stage.symlink("a", "dir").await.unwrap();
    assert_eq!(stage.list("dir").await.unwrap(), ["file", "made"]);
    assert_eq!(stage.list("dir/../b").await.unwrap(), ["dangling", "hard", "link"]);
    stage.unlink("dir").await.unwrap();
    assert_eq!(stage.on_disk("a/file"), "a/file", "the link went, not what it led to");
}

#[tokio::test]
async fn times_and_fingerprints() {
    let mut stage = stage(ALL, |root| tree(root, &["file", "dir/"]));
    symlink("file", stage.path("link"));
    let at = |seconds| NewTimestamp::Timestamp(Datetime { seconds, nanoseconds: 5 });
    let before = code(stage.state.metadata_hash_at(stage.root(), FOLLOW, "file".into()).await).unwrap();
    let again = code(stage.state.metadata_hash_at(stage.root(), FOLLOW, "file".into()).await).unwrap();
    assert_eq!((before.lower, before.upper), (again.lower, again.upper));
    code(stage.state.set_times_at(stage.root(), FOLLOW, "link".into(), NewTimestamp::NoChange, at(1_000)).await).unwrap();
    let stat = stage.stat("file").await.unwrap();
    let modified = stat.data_modification_timestamp.unwrap();
    assert_eq!((modified.seconds, modified.nanoseconds), (1_000, 5));
    assert!(stat.data_access_timestamp.is_none() && stat.status_change_timestamp.is_none());
    let after = code(stage.state.metadata_hash_at(stage.root(), FOLLOW, "file".into()).await).unwrap();
    assert_ne!(before.lower, after.lower);

    code(stage.state.set_times_at(stage.root(), PathFlags::empty(), "link".into(), at(1), at(2_000)).await).unwrap();
    assert_eq!(stage.stat("file").await.unwrap().data_modification_timestamp.unwrap().seconds, 1_000, "only the link's own");
    let file = stage.open("file", OpenFlags::empty(), READ).await.unwrap();
    let dir = stage.open("dir", OpenFlags::empty(), READ).await.unwrap();
    for opened in [file, dir] {
        code(stage.state.set_times(descriptor(opened), NewTimestamp::NoChange, at(3_000)).await).unwrap();
        assert_eq!(code(stage.state.stat(descriptor(opened))).unwrap().data_modification_timestamp.unwrap().seconds, 3_000);
    }
    code(stage.state.set_times(descriptor(file), NewTimestamp::NoChange, NewTimestamp::Now).await).unwrap();
    assert!(code(stage.state.stat(descriptor(file))).unwrap().data_modification_timestamp.unwrap().seconds > 1_000_000_000);
    let bad = NewTimestamp::Timestamp(Datetime { seconds: 0, nanoseconds: 2_000_000_000 });
    assert_eq!(code(stage.state.set_times(descriptor(file), bad, NewTimestamp::NoChange).await), Err(ErrorCode::Invalid));

    let other = stage.open("link", OpenFlags::empty(), READ).await.unwrap();
    assert!(stage.state.is_same_object(descriptor(file), descriptor(other)).unwrap());
    assert!(!stage.state.is_same_object(descriptor(file), descriptor(dir)).unwrap());
}

#[tokio::test]
async fn a_listing_shows_what_is_granted_and_what_leads_there() {
    let mut stage = stage(
        r#"files = [{ path = "docs", access = "read" }, { path = "deep/er/in.txt", access = "read" }, { path = "odd/x", access = "read" }]"#,
        |root| {
            tree(
                root,
                &["docs/b", "docs/a", "docs/sub/c", "deep/er/in.txt", "deep/er/no.txt", "deep/no/x", "secret", ".runner/runs/1/log", "odd"],
            );
            std::fs::write(root.join("docs").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "").unwrap();
        },
    );
    assert_eq!(stage.list(".").await.unwrap(), ["deep", "docs"]);
    assert_eq!(stage.list("docs").await.unwrap(), ["a", "b", "sub"]);
    assert_eq!(stage.list("deep").await.unwrap(), ["er"]);
    assert_eq!(stage.list("deep/er").await.unwrap(), ["in.txt"]);
    assert_eq!(stage.read("deep/er/in.txt").await.unwrap(), "deep/er/in.txt");
    assert_eq!(stage.read("deep/er/no.txt").await, Err(ErrorCode::Access));
    assert_eq!(stage.stat("deep").await.unwrap().type_, DescriptorType::Directory);
    assert_eq!(stage.stat("odd").await.err(), Some(ErrorCode::Access));
    let whole = super::stage(ALL, |root| tree(root, &[".runner/x", ".git/HEAD", "a"]));
    let mut whole = whole;
    assert_eq!(whole.list(".").await.unwrap(), [".git", "a"]);
}

#[tokio::test]
async fn a_granted_file_alone() {
    let mut stage = stage(r#"files = [{ path = "a/out.json", access = "write" }]"#, |root| tree(root, &["a/other"]));
    stage.write("a/out.json", "{}").await.unwrap();
    assert_eq!(stage.on_disk("a/out.json"), "{}");
    assert_eq!(stage.write("a/out.json.tmp", "").await, Err(ErrorCode::Access));
    assert_eq!(stage.rename("a/out.json", "a/gone").await, Err(ErrorCode::Access));
    assert_eq!(stage.rmdir("a").await, Err(ErrorCode::ReadOnly));
    stage.unlink("a/out.json").await.unwrap();
}

#[tokio::test]
async fn the_disk_limit() {
    let mut stage = limited(ALL, |root| tree(root, &["copied"]), |setting| setting.limits.disk = 20_000);
    let file = stage.open("big", OpenFlags::CREATE, WRITE).await.unwrap();
    let write = |bytes: usize, offset| (vec![b'x'; bytes], offset);
    let (bytes, at) = write(10_000, 0);
    code(stage.state.write(descriptor(file), bytes, at).await).unwrap();
    let (bytes, at) = write(10_000, 0);
    code(stage.state.write(descriptor(file), bytes, at).await).unwrap();
    let (bytes, at) = write(10_000, 10_000);
    assert_eq!(code(stage.state.write(descriptor(file), bytes, at).await), Err(ErrorCode::InsufficientSpace));
    assert_eq!(code(stage.state.set_size(descriptor(file), 1 << 40).await), Err(ErrorCode::InsufficientSpace));
    let log = std::fs::read_to_string(stage.folder.path().join("log")).unwrap();
    assert!(log.contains("limit of 20000 bytes; raise `limits.disk`"), "{log}");
    assert_eq!(log.lines().count(), 1, "told once");

    // removed while open: given back at the end
    stage.unlink("big").await.unwrap();
    assert_eq!(stage.write("next", &"y".repeat(8_000)).await, Err(ErrorCode::InsufficientSpace));
    stage.close(file);
    stage.write("next", &"y".repeat(8_000)).await.unwrap();
    // what was copied is no credit
    stage.unlink("copied").await.unwrap();
    for n in 0..3 {
        let _ = stage.mkdir(&format!("d{n}")).await;
    }
    assert_eq!(stage.mkdir("one-more").await, Err(ErrorCode::InsufficientSpace));
    stage.rmdir("d0").await.unwrap();
    stage.mkdir("one-more").await.unwrap();
}

#[tokio::test]
async fn every_crossing_is_recorded() {
    let mut stage = stage(ALL, |root| tree(root, &["a"]));
    let before = stage.counts();
    stage.read("a").await.unwrap();
    let after = stage.counts();
    assert_eq!((after.granted - before.granted, after.delivered - before.delivered, after.denied), (1, 1, 0));
    stage.write("b", "x").await.unwrap();
    let names: Vec<_> = stage.ledger.entries().iter().map(|e| (e.effect.clone(), e.subject.clone())).collect();
    let names: Vec<_> = names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(names, [("files.open", "a"), ("files.open", "b"), ("files.write", "b")]);
}
