use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::{line, read, scene, sh};
use crate::{Ceilings, ContainerSpec, Ended, ExecSpec, Kept, Mount};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_prints_and_how_it_ends() {
    let Some(scene) = scene("prints").await else { return };
    let ended = scene.says(sh("echo out; echo err >&2; exit 3")).await;
    assert_eq!(ended, ("out\n".into(), "err\n".into(), Ended { code: 3, out_of_memory: false }));
    // the very first byte counts, however short the program lives
    for _ in 0..5 {
        assert_eq!(scene.says(sh("echo early")).await.0, "early\n");
    }
    let spec = ContainerSpec { stdin: vec![b'x'; 1 << 20], ..sh("wc -c; cat /does/not/exist") };
    let (out, err, ended) = scene.says(spec).await;
    assert_eq!((out.trim(), ended.code), ("1048576", 1));
    assert!(err.contains("/does/not/exist"));
    assert_eq!(scene.says(sh("wc -c")).await.0.trim(), "0", "standard input is empty");
    // a program that does not read its input
    assert_eq!(scene.says(ContainerSpec { stdin: vec![b'x'; 8 << 20], ..sh("exit 4") }).await.2.code, 4);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_may_is_next_to_nothing() {
    let Some(scene) = scene("hardened").await else { return };
    let script = "grep -E '^(Cap(Eff|Prm|Inh|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -c; ls /sys/class/net; cat /proc/1/comm; hostname";
    let (out, _, _) = scene.says(sh(script)).await;
    let lines: Vec<String> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(lines.contains(&format!("{name}: 0000000000000000")), "{out}");
    }
    assert!(lines.contains(&"NoNewPrivs: 1".to_owned()) && lines.contains(&"Seccomp: 2".to_owned()), "{out}");
    assert_eq!(lines[7..10], ["0", "lo", "sh"], "no core dumps, loopback alone, processes of its own: {out}");

    // each of these needs what it does not have
    let tries = "mount -t tmpfs x /mnt; mknod /tmp/x b 1 1; chroot /; hostname x; ip link set lo down; chown 1 /etc; ls /dev/mem /dev/kmsg; unshare -U true; reboot -f";
    for attempt in tries.split("; ") {
        let (out, err, ended) = scene.says(sh(attempt)).await;
        assert_ne!(ended.code, 0, "{attempt}: {out}{err}");
    }

    let spec = ContainerSpec {
        keep_capabilities: vec![Kept::Chown, Kept::Setuid, Kept::Setgid],
        user: Some("0:0".into()),
        ..sh("grep CapEff /proc/self/status; chown 1 /etc && echo chowned")
    };
    let (out, _, _) = scene.says(spec).await;
    assert_eq!(out, "CapEff:\t00000000000000c1\nchowned\n");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ceilings_hold() {
    let Some(scene) = scene("ceilings").await else { return };
    let limits = Ceilings { memory: Some(16 << 20), cpus: Some(500), pids: Some(8) };
    let spec = ContainerSpec { limits, init: true, ..sh("x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo survived") };
    let (out, _, ended) = scene.says(spec).await;
    assert!(!out.contains("survived") && ended.code != 0, "{out} {ended:?}");
    let bombs = "i=0; while [ $i -lt 20 ]; do sleep 20 & i=$((i+1)); done; echo all";
    let (out, err, _) = scene.says(ContainerSpec { limits, ..sh(bombs) }).await;
    assert!(!out.contains("all") && err.contains("fork"), "{out}{err}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_eats_all_memory_is_told_from_who_fails() {
    let Some(scene) = scene("memory").await else { return };
    // the first process itself
    let spec = ContainerSpec { limits: Ceilings { memory: Some(8 << 20), ..Ceilings::default() }, ..sh("exec tail -n 99999999 /dev/zero") };
    let (_, _, ended) = scene.says(spec).await;
    assert_eq!(ended, Ended { code: 137, out_of_memory: true });
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_what_they_say() {
    let Some(scene) = scene("mounts").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a:b,c");
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("file"), "given").unwrap();
    scene.engine.volume(&scene.owner, &format!("{}-volume", scene.owner.run)).await.unwrap();
    let spec = ContainerSpec {
        read_only_root: true,
        directory: Some("/in".into()),
        env: vec![("A".into(), "b c=d".into())],
        mounts: vec![
            Mount::Bind { from: odd.clone(), to: "/in".into(), writable: false },
            Mount::Bind { from: folder.path().to_owned(), to: "/out".into(), writable: true },
            Mount::Volume { name: format!("{}-volume", scene.owner.run), to: "/volume".into(), writable: true },
            Mount::Tmpfs { to: "/tmp".into(), bytes: 1 << 20 },
        ],
        ..sh(
            "cat file; echo \"$A\" > /out/made; echo v > /volume/v; touch /in/no; touch /no; head -c 4000000 /dev/zero > /tmp/big; cp /bin/busybox /out/x; cp /bin/true /tmp/t; echo",
        )
    };
    let (out, err, _) = scene.says(spec).await;
    assert_eq!(out.trim(), "given");
    assert_eq!(std::fs::read_to_string(folder.path().join("made")).unwrap(), "b c=d\n");
    assert_eq!(err.matches("Read-only file system").count(), 2, "{err}");
    assert!(err.contains("No space left"), "{err}");
    assert_eq!(scene.engine.clear(&scene.owner).await.unwrap().volumes.len(), 1);

    let spec =
        ContainerSpec { mounts: vec![Mount::Bind { from: "/does/not/exist".into(), to: "/x".into(), writable: false }], ..sh("true") };
    let refused = scene.engine.run(&scene.owner, &spec).await.err().unwrap();
    assert!(refused.to_string().contains("/does/not/exist"), "{refused}");
    assert!(!std::path::Path::new("/does/not/exist").exists());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_asked_to_end_and_made_to() {
    let Some(scene) = scene("ending").await else { return };
    let polite = scene.run(sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")).await;
    let mut output = polite.output().unwrap();
    line(&mut output, "up").await;
    polite.stop(Duration::from_secs(20)).await.unwrap();
    line(&mut output, "bye").await;
    assert_eq!(polite.wait().await.unwrap().code, 7);
    assert_eq!(polite.wait().await.unwrap().code, 7, "the same answer every time");
    polite.stop(Duration::from_secs(1)).await.unwrap();
    polite.kill().await.unwrap();
    polite.remove().await.unwrap();

    let rude = scene.run(sh("trap '' TERM; echo up; while :; do sleep 0.05; done")).await;
    line(&mut rude.output().unwrap(), "up").await;
    let asked = Instant::now();
    rude.stop(Duration::from_millis(900)).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert_eq!(rude.wait().await.unwrap(), Ended { code: 137, out_of_memory: false });
    let state = rude.inspect().await.unwrap();
    assert!(!state.running && state.started < state.ended && state.started.is_some(), "{state:?}");
    rude.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn further_programs_run_inside() {
    let Some(scene) = scene("exec").await else { return };
    let container = scene.run(ContainerSpec { init: true, ..sh("sleep 60") }).await;
    let spec = ExecSpec {
        command: [
            "sh",
            "-c",
            "pwd; echo $A; cat; grep -c 'CapEff:.0000000000000000' /proc/self/status; grep NoNewPrivs /proc/self/status; exit 5",
        ]
        .map(str::to_owned)
        .to_vec(),
        env: vec![("A".into(), "b".into())],
        directory: Some("/bin".into()),
        user: Some("1:1".into()),
        stdin: b"fed\n".to_vec(),
    };
    let mut exec = container.exec(&spec).await.unwrap();
    let (out, _) = read(exec.output().unwrap()).await;
    assert_eq!(out, "/bin\nb\nfed\n1\nNoNewPrivs:\t1\n");
    assert_eq!(exec.code().await.unwrap(), 5);

    let missing = ExecSpec { command: vec!["no-such-program".into()], ..ExecSpec::default() };
    let mut exec = container.exec(&missing).await.unwrap();
    let (out, _) = read(exec.output().unwrap()).await;
    assert!(out.contains("no-such-program") && matches!(exec.code().await, Ok(126 | 127)), "{out}");

    container.kill().await.unwrap();
    container.wait().await.unwrap();
    assert!(container.exec(&spec).await.err().unwrap().is_conflict());
    container.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_out() {
    let Some(scene) = scene("copies").await else { return };
    let container = scene.run(sh("sleep 60")).await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3 << 20);
    header.set_mode(0o644);
    archive.append_data(&mut header, "folder/file", std::io::repeat(b'x').take(3 << 20)).unwrap();
    let pieces: Vec<_> = archive.into_inner().unwrap().chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    container.copy_in("/", futures::stream::iter(pieces)).await.unwrap();

    let got: Vec<Bytes> = container.copy_out("/folder").try_collect().await.unwrap();
    let got = got.concat();
    let mut archive = tar::Archive::new(got.as_slice());
    let sizes: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path().unwrap().display().to_string(), entry.size()))
        .collect();
    assert_eq!(sizes, [("folder/".to_owned(), 0), ("folder/file".to_owned(), 3 << 20)]);

    let missing = container.copy_out("/nothing").next().await.unwrap().unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    let missing = container.copy_in("/nothing", futures::stream::iter([Ok(Bytes::from_static(&[0; 1024]))])).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    container.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_finds_its_container_again() {
    let Some(scene) = scene("found").await else { return };
    let spec = ContainerSpec { effect: Some(12), ..sh("echo before; sleep 1; echo after; exit 9") };
    let container = scene.run(spec).await;
    let id = container.id().to_owned();
    container.leave();
    assert!(scene.engine.find(&scene.owner, 1).await.unwrap().is_none());
    // another process asks for the same attempt
    let heir = crate::Owner { process: "another".into(), ..scene.owner.clone() };
    let found = scene.engine.find(&heir, 12).await.unwrap().unwrap();
    assert_eq!(found.id(), id);
    assert!(found.output().is_none());
    assert_eq!(read(found.logs()).await.0, "before\nafter\n");
    assert_eq!(found.wait().await.unwrap().code, 9);
    found.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_leaves_nothing() {
    let Some(scene) = scene("dropped").await else { return };
    drop(scene.run(sh("sleep 60")).await);
    // given up at any point on the way
    for millis in [0, 1, 5, 20, 60, 150] {
        let _ = tokio::time::timeout(Duration::from_millis(millis), scene.engine.run(&scene.owner, &sh("sleep 60"))).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.end_soon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_started_leaves_nothing() {
    let Some(scene) = scene("refused").await else { return };
    let spec = ContainerSpec { image: "runner-test/no-such:1".into(), ..ContainerSpec::default() };
    let missing = scene.engine.run(&scene.owner, &spec).await.err().unwrap();
    assert!(missing.is_missing() && missing.to_string().contains("runner-test/no-such:1"), "{missing}");
    let spec = ContainerSpec { entrypoint: Some(vec!["/no/such/program".into()]), ..sh("") };
    let refused = scene.engine.run(&scene.owner, &spec).await.err().unwrap();
    assert!(refused.to_string().contains("/no/such/program"), "{refused}");
    let name = Some(format!("{}-taken", scene.owner.run));
    let first = scene.run(ContainerSpec { name: name.clone(), ..sh("sleep 60") }).await;
    let refused = scene.engine.run(&scene.owner, &ContainerSpec { name, ..sh("true") }).await.err().unwrap();
    assert!(refused.is_conflict(), "{refused}");
    first.remove().await.unwrap();
    scene.end().await;
}
