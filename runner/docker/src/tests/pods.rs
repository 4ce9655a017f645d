use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::{Scene, line, read, scene, sh};
use crate::{Container, ContainerSpec, Pod, PodSpec};

const MEGABYTES: usize = 100;

async fn pod(scene: &Scene, folder: &Path, outlet: bool) -> Pod {
    let spec = PodSpec { names: vec!["db".into()], full: false, outlet, folder: folder.to_owned() };
    Pod::start(&scene.engine, &scene.owner, &spec).await.unwrap()
}

async fn inside(scene: &Scene, pod: &Pod, script: &str) -> Container {
    scene.run(ContainerSpec { network: pod.network(), init: true, ..sh(script) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_a_loopback_with_names() {
    let Some(scene) = scene("pod").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let pod = pod(&scene, folder.path(), false).await;
    let server = inside(&scene, &pod, "echo -n served > /tmp/x; echo up; exec httpd -f -p 127.0.0.1:80 -h /tmp").await;
    line(&mut server.output().unwrap(), "up").await;
    let client =
        inside(&scene, &pod, "for h in db db.stage localhost; do until wget -qO- http://$h/x; do sleep 0.1; done; done; ls /run/runner")
            .await;
    let (out, _) = read(client.output().unwrap()).await;
    assert_eq!(out, "servedservedserved", "and the holder's folder is not seen");

    let mut stream = pod.connect(80).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("served"), "{answer}");
    assert_eq!(pod.connect(81).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    let six = inside(&scene, &pod, "echo up; exec nc -ll -s ::1 -p 82 -e echo six").await;
    line(&mut six.output().unwrap(), "up").await;
    let mut answer = String::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    while answer.is_empty() && Instant::now() < deadline {
        if let Ok(mut stream) = pod.connect(82).await {
            stream.read_to_string(&mut answer).await.unwrap();
        }
    }
    assert!(answer == "six\n" || !Path::new("/proc/sys/net/ipv6").exists() || six.wait().await.is_ok(), "{answer}");

    for container in [server, client, six] {
        container.remove().await.unwrap();
    }
    pod.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leads_out_of_a_pod_but_the_proxy() {
    let Some(scene) = scene("no-way-out").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut pod = pod(&scene, folder.path(), true).await;
    let outlet = pod.outlet().unwrap();
    assert!(pod.outlet().is_none());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = outlet.accept().await {
            let _ = stream.write_all(b"the proxy\n").await;
        }
    });
    // this machine, listening wherever it can, and on a socket without a path
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"REACHED"))));
    let gateways = "172.17.0.1 127.0.0.1 $(cat /tmp/none 2>/dev/null) 10.0.2.2 192.168.1.1 169.254.169.254 host.docker.internal";
    let script = format!(
        "echo proxy: $(nc -w 5 127.0.0.1 3128 </dev/null)\n\
         for a in {gateways}; do echo $(timeout 3 nc -w 2 $a {port} </dev/null 2>&1); done\n\
         timeout 5 nslookup example.com 2>&1; timeout 5 nslookup example.com 8.8.8.8 2>&1\n\
         timeout 3 wget -T 2 -qO- 'http://[2606:2800:220:1::1]/' 2>&1; timeout 3 ping -c1 -W1 8.8.8.8 2>&1\n\
         echo routes: $(tail -n +2 /proc/net/route | wc -l); echo six: $(grep -v ' lo$' /proc/net/if_inet6 | wc -l); echo links: $(ls /sys/class/net)"
    );
    let prisoner = inside(&scene, &pod, &script).await;
    let (out, _) = read(prisoner.output().unwrap()).await;
    assert!(out.contains("proxy: the proxy\n"), "{out}");
    assert!(!out.contains("REACHED") && !out.contains("Address 1:"), "{out}");
    assert!(out.contains("routes: 0\nsix: 0\nlinks: lo\n"), "{out}");
    prisoner.remove().await.unwrap();
    pod.remove().await.unwrap();
    scene.end().await;
}

/// Takes in all that comes, and says what it was when the other side has finished.
async fn swallow(listener: UnixListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    // what it has still to say arrives, though the other direction has ended
    stream.write_all(b"all of it").await.unwrap();
    digest.finish().as_ref().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_a_pod_s_border_arrives_whole() {
    let Some(scene) = scene("border").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut pod = pod(&scene, folder.path(), true).await;
    let mut bytes = vec![0u8; MEGABYTES << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let digest = ring::digest::digest(&SHA256, &bytes);
    let hex = crate::digest::hex(&bytes);
    std::fs::write(folder.path().join("bytes"), &bytes).unwrap();

    // out: half-closed by the program, answered by the proxy
    let proxy = tokio::spawn(swallow(pod.outlet().unwrap()));
    let mount = crate::Mount::Bind { from: folder.path().join("bytes"), to: "/bytes".into(), writable: false };
    let spec = ContainerSpec { network: pod.network(), mounts: vec![mount], ..sh("nc 127.0.0.1 3128 < /bytes") };
    let sender = scene.run(spec).await;
    let (out, err) = read(sender.output().unwrap()).await;
    assert_eq!((out.as_str(), err.as_str()), ("all of it", ""));
    assert_eq!(proxy.await.unwrap(), digest.as_ref());

    // in: half-closed by the runner, answered by the program
    let receiver = inside(&scene, &pod, "echo up; nc -l -p 9000 -e sh -c 'sha256sum; echo done'").await;
    line(&mut receiver.output().unwrap(), "up").await;
    let mut stream = loop {
        match pod.connect(9000).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let sent = Instant::now();
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with(&hex) && answer.ends_with("done\n"), "{answer}");
    assert!(sent.elapsed() < Duration::from_secs(60), "{:?}", sent.elapsed());
    sender.remove().await.unwrap();
    receiver.remove().await.unwrap();
    pod.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_each_way_in_little_memory() {
    let Some(scene) = scene("many").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut pod = pod(&scene, folder.path(), true).await;
    let outlet = pod.outlet().unwrap();
    // nobody is answered before all have come
    let proxy = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..200 {
            streams.push(outlet.accept().await.unwrap().0);
        }
        for stream in &mut streams {
            stream.write_all(b"hello\n").await.unwrap();
        }
    });
    let script =
        "i=0; while [ $i -lt 200 ]; do (cat < /dev/null | nc -w 60 127.0.0.1 3128 || echo bad) & i=$((i+1)); done; wait; echo over";
    let many = inside(&scene, &pod, script).await;
    let reading = tokio::spawn(read(many.output().unwrap()));
    tokio::time::timeout(Duration::from_secs(120), proxy).await.expect("all come").unwrap();
    let (out, err) = reading.await.unwrap();
    assert_eq!((out.matches("hello\n").count(), out.contains("bad")), (200, false), "{out}{err}");

    let server = inside(&scene, &pod, "echo up; exec nc -ll -p 9000 -e cat").await;
    line(&mut server.output().unwrap(), "up").await;
    let mut streams = Vec::new();
    while streams.len() < 200 {
        match pod.connect(9000).await {
            Ok(stream) => streams.push(stream),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        stream.write_all(format!("{at:04}").as_bytes()).await.unwrap();
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, format!("{at:04}").as_bytes());
    }
    let pid = pod.state().await.unwrap().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 12 << 10, "{resident} kB");
    drop(streams);
    many.remove().await.unwrap();
    server.remove().await.unwrap();
    pod.remove().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_can_t_be_says_why_and_leaves_nothing() {
    let Some(scene) = scene("no-pod").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let spec = PodSpec { folder: folder.path().join("missing"), ..PodSpec::default() };
    let error = Pod::start(&scene.engine, &scene.owner, &spec).await.err().unwrap().to_string();
    assert!(error.contains("missing: No such file"), "{error}");
    // a folder in which the sockets can't be made
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let spec = PodSpec { folder: folder.path().to_owned(), ..PodSpec::default() };
    let error = Pod::start(&scene.engine, &scene.owner, &spec).await.err().unwrap().to_string();
    assert!(error.contains("its first process ended at once with 1: holder: the shared folder: error"), "{error}");
    // dropped: gone
    let folder = tempfile::tempdir().unwrap();
    drop(pod(&scene, folder.path(), false).await);
    scene.end_soon().await;
}
