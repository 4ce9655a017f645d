//! Files as streams.

use capability::StageState;
use capability::io::bindings::wasi::io::streams::{HostInputStream, HostOutputStream};
use capability::io::{InputStream, OutputStream, StreamError};

use super::*;
use crate::host::bindings::wasi::filesystem::types::Host as _;

const ALL: &str = r#"files = [{ path = ".", access = "write" }]"#;

fn input(rep: u32) -> Resource<InputStream> {
    Resource::new_borrow(rep)
}

fn output(rep: u32) -> Resource<OutputStream> {
    Resource::new_borrow(rep)
}

fn put(state: &mut StageState, stream: u32, bytes: &[u8]) -> Result<(), StreamError> {
    HostOutputStream::write(state, output(stream), bytes.to_vec())
}

fn take(state: &mut StageState, stream: u32, max: u64) -> Result<Vec<u8>, StreamError> {
    HostInputStream::read(state, input(stream), max)
}

fn close(state: &mut StageState, stream: u32) {
    HostOutputStream::drop(state, Resource::new_own(stream)).unwrap();
}

#[tokio::test]
async fn a_file_is_read_to_its_end() {
    let mut stage = stage(ALL, |root| std::fs::write(root.join("f"), vec![7; 3_000_000]).unwrap());
    let file = stage.open("f", OpenFlags::empty(), READ).await.unwrap();
    let stream = code(stage.state.read_via_stream(descriptor(file), 1)).unwrap().rep();
    stage.close(file);
    let mut total = 0;
    loop {
        match take(&mut stage.state, stream, u64::MAX) {
            Ok(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= 1 << 20);
                total += bytes.len();
            }
            Err(StreamError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(total, 2_999_999, "from the offset on, although the descriptor is closed");
}

#[tokio::test]
async fn streams_of_one_file_do_not_disturb_each_other() {
    let mut stage = stage(ALL, |root| std::fs::write(root.join("f"), "0123456789").unwrap());
    let file = stage.open("f", OpenFlags::empty(), READ | WRITE).await.unwrap();
    let state = &mut stage.state;
    let one = code(state.write_via_stream(descriptor(file), 2)).unwrap().rep();
    let end = code(state.append_via_stream(descriptor(file))).unwrap().rep();
    let reader = code(state.read_via_stream(descriptor(file), 0)).unwrap().rep();
    put(state, one, b"ab").unwrap();
    put(state, end, b"X").unwrap();
    put(state, one, b"cd").unwrap();
    put(state, end, b"Y").unwrap();
    state.flush(output(one)).unwrap();
    state.blocking_flush(output(end)).unwrap();
    assert_eq!(take(state, reader, 100).unwrap(), b"01abcd6789XY");
    close(state, one);
    close(state, end);
    assert_eq!(stage.on_disk("f"), "01abcd6789XY");
}

#[tokio::test]
async fn staged_bytes_are_there_before_anything_else_happens() {
    let mut stage = stage(ALL, |root| tree(root, &["other"]));
    let file = stage.open("f", OpenFlags::CREATE, READ | WRITE).await.unwrap();
    let stream = code(stage.state.append_via_stream(descriptor(file))).unwrap().rep();
    let before = stage.counts().granted;
    for _ in 0..100 {
        put(&mut stage.state, stream, b"0123456789").unwrap();
    }
    assert_eq!(stage.counts().granted, before, "held back");
    assert_eq!(stage.stat("f").await.unwrap().size, 1000);
    assert_eq!(stage.counts().granted, before + 2, "one write for all of them, and the stat");
    put(&mut stage.state, stream, b"tail").unwrap();
    assert_eq!(stage.read("f").await.unwrap()[1000..], *"tail");
    put(&mut stage.state, stream, b"!").unwrap();
    stage.rename("f", "g").await.unwrap();
    assert_eq!(stage.on_disk("g").len(), 1005);
    put(&mut stage.state, stream, b"?").unwrap();
    close(&mut stage.state, stream);
    assert_eq!(stage.on_disk("g").len(), 1006);
}

#[tokio::test]
async fn a_stage_that_ends_keeps_what_it_wrote() {
    let mut stage = stage(ALL, |_| {});
    let file = stage.open("f", OpenFlags::CREATE, WRITE).await.unwrap();
    let stream = code(stage.state.write_via_stream(descriptor(file), 0)).unwrap().rep();
    put(&mut stage.state, stream, b"unflushed").unwrap();
    let Stage { folder, state, .. } = stage;
    drop(state);
    assert_eq!(std::fs::read_to_string(folder.path().join("workspace/f")).unwrap(), "unflushed");
}

#[tokio::test]
async fn a_stream_s_error_tells_its_code() {
    let mut stage = limited(ALL, |_| {}, |setting| setting.limits.disk = 10_000);
    let file = stage.open("f", OpenFlags::CREATE, WRITE).await.unwrap();
    let stream = code(stage.state.write_via_stream(descriptor(file), 0)).unwrap().rep();
    put(&mut stage.state, stream, &[0; 20_000]).unwrap();
    let Err(StreamError::Failed(error)) = HostOutputStream::flush(&mut stage.state, output(stream)) else { panic!("flushed") };
    let error = stage.state.table.push(error).unwrap();
    assert_eq!(stage.state.filesystem_error_code(error).unwrap(), Some(ErrorCode::InsufficientSpace));
    // an error that nobody was there to hear is told at the next call
    put(&mut stage.state, stream, &[0; 20_000]).unwrap();
    let _ = stage.stat("f").await;
    assert!(matches!(put(&mut stage.state, stream, &[0]), Err(StreamError::Failed(_))));
}

/// What a guest reads comes out of the page cache; the bound is a tenth of what is wanted, for slow machines.
#[tokio::test]
async fn reading_is_fast() {
    let mut stage = stage(ALL, |root| std::fs::write(root.join("f"), vec![7; 64 << 20]).unwrap());
    let file = stage.open("f", OpenFlags::empty(), READ).await.unwrap();
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let stream = code(stage.state.read_via_stream(descriptor(file), 0)).unwrap().rep();
        let mut total = 0;
        while let Ok(bytes) = take(&mut stage.state, stream, 1 << 20) {
            total += bytes.len();
        }
        assert_eq!(total, 64 << 20);
        best = best.max(total as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    assert!(best > 0.1, "{best} GB/s");
}
