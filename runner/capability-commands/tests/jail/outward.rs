//! A socket that listens inside and is served outside: the one opening that a jail can be given, and that it opens nothing else.

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use capability_commands::jail::JailError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Case,
    world::{SELF, World, command, run, start},
};

pub const CASES: &[Case] = &[
    ("what listens inside is served outside", served),
    ("a connection is its command's", owned),
    ("a listener opens no other way", no_other_way),
];

const PORT: u16 = 3128;

/// Says its argument to the port, and prints the answer.
const SAY: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0) or die; connect($s, sockaddr_in(3128, INADDR_LOOPBACK)) or die $!;
    select $s; $| = 1; print $ARGV[0]; select STDOUT; sysread($s, my $b, 100); print $b";

fn served() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let listener = jail.listen(PORT).await.unwrap();
        assert!(matches!(jail.listen(PORT).await, Err(JailError::Listen { port: PORT, .. })), "a port is listened on once");
        assert!(std::net::TcpStream::connect(("127.0.0.1", PORT)).is_err(), "it listens inside alone");
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(b"heard").await.unwrap();
            said
        };
        let (output, said) = tokio::join!(run(jail, "perl", &["-e", SAY, "hello"]), served);
        assert_eq!((output.ok().as_str(), &said), ("heard", b"hello"));
    });
}

/// Whoever asks, in whatever process of its own, and never another.
fn owned() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let listener = jail.listen(PORT).await.unwrap();
        let mut bystanders = Vec::new();
        for _ in 0..3 {
            bystanders.push(jail.spawn(command("sleep", &["60"])).await.unwrap());
        }
        for script in ["perl -e \"$0\" x", "(setsid perl -e \"$0\" x & wait) & wait"] {
            let (process, output) = start(jail, command("sh", &["-c", script, SAY])).await.unwrap();
            let (mut stream, peer) = listener.accept().await.unwrap();
            assert_eq!(jail.owner(peer.port(), PORT), Some(process.id()), "{script}");
            assert_eq!(jail.owner(peer.port().wrapping_add(1), PORT), None);
            stream.write_all(b"y").await.unwrap();
            process.wait().await;
            assert_eq!(output.await.0, "y");
            assert_eq!(jail.owner(peer.port(), PORT), None, "it has ended");
        }
        drop(bystanders);
    });
}

fn no_other_way() {
    let world = World::new();
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    world.with(world.spec(), async |jail| {
        let _listener = jail.listen(PORT).await.unwrap();
        let own = format!("127.0.0.1:{port}");
        let tcp =
            run(jail, SELF, &["__attack", "tcp", &own, "169.254.169.254:80", "10.0.0.1:80", "1.1.1.1:443", &format!("[::1]:{port}")]).await;
        let others = [tcp, run(jail, SELF, &["__attack", "names", "example.com"]).await, run(jail, SELF, &["__attack", "sockets"]).await];
        for output in others {
            assert!(output.status.success() && output.stdout.contains("stopped"), "{output:?}");
        }
        let udp = run(jail, SELF, &["__attack", "udp", &format!("127.0.0.1:{udp_port}"), "1.1.1.1:53"]).await;
        assert!(udp.stdout.contains("NetworkUnreachable"), "{udp:?}");
    });
    tcp.set_nonblocking(true).unwrap();
    assert!(tcp.accept().is_err(), "somebody connected");
    assert!(udp.recv(&mut [0; 8]).is_err(), "a datagram came out");
}
