use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::allow::Entry;
use crate::hello::hello_for;
use crate::meter::Contact;

/// Every name that ends in `.here` leads to this machine; the others lead nowhere.
struct Names;

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let found = if host.ends_with(".here") { Ok(vec!["127.0.0.1".parse().unwrap()]) } else { Err(io::Error::other("no such name")) };
        Box::pin(std::future::ready(found))
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Contact>>);

impl Witness for Told {
    fn contact(&self, contact: Contact) {
        self.0.lock().unwrap().push(contact);
    }
}

impl Told {
    fn all(&self) -> Vec<Contact> {
        self.0.lock().unwrap().clone()
    }

    /// The one contact, as `host:port in out` or with what became of it.
    fn one(&self) -> String {
        let all = self.all();
        let [one] = &all[..] else { panic!("{all:?}") };
        match &one.outcome {
            Outcome::Reached => format!("{} {} {}", one.host, one.bytes_in, one.bytes_out),
            Outcome::Refused(refusal) => format!("{} refused: {refusal}", one.host),
            Outcome::Failed(why) => format!("{} failed: {why}", one.host),
        }
    }
}

/// A host that takes one connection: says `first`, reads until the client has said `length` bytes or is gone, and answers.
async fn host(first: &'static str, length: usize, answer: &'static str) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < length && stream.read_buf(&mut heard).await.unwrap_or(0) > 0 {}
        let _ = stream.write_all(answer.as_bytes()).await;
        heard
    });
    (port, serving)
}

/// A client of a proxy that grants `good.here` and `open.here` (private) and `public.here` (not) on `port`.
fn client(port: u16) -> (DuplexStream, Arc<Told>, JoinHandle<()>) {
    let entry = |host: &str, private| {
        let mut entry = Entry::parse(&format!("{host}:{port}")).unwrap();
        entry.private = private;
        entry
    };
    let allow =
        AllowList(vec![entry("good.here", true), entry("open.here", true), entry("public.here", false), entry("nowhere.example", true)]);
    let proxy = Proxy::new(allow).resolver(Arc::new(Names)).known_as(Host::parse("127.0.0.1").unwrap().unwrap(), 3128);
    let (ours, theirs) = duplex(64 << 10);
    let told = Arc::new(Told::default());
    let witness = told.clone();
    let serving = tokio::spawn(async move { proxy.serve(theirs, witness).await });
    (ours, told, serving)
}

/// Reads a response's head.
async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Says something, hangs up, and reads to the end.
async fn exchange(port: u16, said: &str) -> (String, Arc<Told>) {
    let (mut stream, told, serving) = client(port);
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut heard = head(&mut stream).await;
    drop(stream);
    serving.await.unwrap();
    heard.truncate(heard.find('\r').unwrap_or(heard.len()));
    (heard, told)
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let (port, hears) = host("", 4, "pong!").await;
    let (mut stream, told, serving) = client(port);
    stream.write_all(format!("CONNECT GOOD.here.:{port} HTTP/1.1\r\nHost: whatever\r\n\r\nping").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!((heard.as_str(), &hears.await.unwrap()[..]), ("pong!", &b"ping"[..]));
    drop(stream);
    serving.await.unwrap();
    assert_eq!(told.one(), "good.here 5 4");
}

#[tokio::test]
async fn a_host_may_speak_first() {
    let (port, _hears) = host("220 hello\r\n", 1, "").await;
    let (mut stream, _told, _serving) = client(port);
    stream.write_all(format!("CONNECT good.here:{port} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    head(&mut stream).await;
    let mut said = [0; 11];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"220 hello\r\n");
}

#[tokio::test]
async fn tls_must_name_the_granted_host() {
    for (name, wanted) in [
        ("good.here", None),
        ("open.here", Some("good.here refused: the TLS connection inside asks for the server `open.here`")),
        ("evil.example", Some("good.here refused: the TLS connection inside asks for the server `evil.example`")),
        ("127.0.0.1", Some("good.here refused: the TLS connection inside does not name its server")),
    ] {
        let hello = hello_for(name);
        let (port, hears) = host("", hello.len(), "").await;
        let (mut stream, told, serving) = client(port);
        stream.write_all(format!("CONNECT good.here:{port} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
        // in two pieces, so that it has to be waited for
        let (first, rest) = hello.split_at(7);
        stream.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        let _ = stream.write_all(rest).await;
        let mut end = Vec::new();
        let _ = stream.read_to_end(&mut end).await;
        drop(stream);
        serving.await.unwrap();
        let heard = hears.await.unwrap();
        match wanted {
            None => assert_eq!(heard, hello),
            Some(wanted) => {
                assert_eq!(told.one(), wanted);
                assert!(heard.is_empty(), "{name}: the host heard {} bytes", heard.len());
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_granted_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cases = [
        (format!("CONNECT evil.here:{port} HTTP/1.1\r\n\r\n"), "403", "evil.here refused: the host and port are not granted"),
        (format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"), "403", "127.0.0.1 refused: the host and port are not granted"),
        (format!("CONNECT 2130706433:{port} HTTP/1.1\r\n\r\n"), "403", "127.0.0.1 refused: the host and port are not granted"),
        (
            format!("CONNECT public.here:{port} HTTP/1.1\r\n\r\n"),
            "403",
            "public.here refused: the name leads to 127.0.0.1, a loopback address",
        ),
        ("CONNECT 127.0.0.1:3128 HTTP/1.1\r\n\r\n".to_owned(), "403", "127.0.0.1 refused: it is the proxy itself"),
        (
            format!("CONNECT app.stage:{port} HTTP/1.1\r\n\r\n"),
            "403",
            "app.stage refused: `.stage` names are the stage's own and are reached without the proxy",
        ),
        (
            format!("CONNECT nowhere.example:{port} HTTP/1.1\r\n\r\n"),
            "502",
            "nowhere.example failed: the name can't be resolved: no such name",
        ),
        (
            format!("GET http://evil.here:{port}/ HTTP/1.1\r\nHost: evil.here:{port}\r\n\r\n"),
            "403",
            "evil.here refused: the host and port are not granted",
        ),
        (
            format!("GET http://good.here:{port}/ HTTP/1.1\r\nHost: evil.here:{port}\r\n\r\n"),
            "403",
            "good.here refused: the request's Host header names `evil.here:",
        ),
        (
            format!("GET http://good.here:{port}/ HTTP/1.1\r\nHost: good.here\r\n\r\n"),
            "403",
            "good.here refused: the request's Host header names `good.here`",
        ),
        (
            format!("GET http://good.here:{port}/ HTTP/1.1\r\nHost: good.here:{port}\r\nHost: evil.here\r\n\r\n"),
            "403",
            "good.here refused: the request's Host header",
        ),
    ];
    for (said, status, wanted) in cases {
        let (heard, told) = exchange(port, &said).await;
        assert!(heard.contains(status) && told.one().starts_with(wanted), "{said}: {heard}, {}", told.one());
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "somebody connected");
}

#[tokio::test]
async fn what_can_not_be_read_leads_nowhere() {
    for (said, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("GET https://good.here/ HTTP/1.1\r\nHost: good.here\r\n\r\n".to_owned(), "400"),
        ("CONNECT good.here HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("CONNECT good.here:0 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("CONNECT user@good.here:443 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET http://user:pass@good.here/ HTTP/1.1\r\nHost: good.here\r\n\r\n".to_owned(), "400"),
        (format!("GET http://good.here/ HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40 << 10)), "431"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
    ] {
        let (heard, told) = exchange(80, &said).await;
        let said: String = said.chars().take(60).collect();
        assert!(heard.contains(status), "{said}: {heard}");
        assert_eq!(told.all(), []);
    }
}

#[tokio::test]
async fn a_plain_request_goes_on_in_origin_form() {
    let (port, hears) = host("", 105, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nproxy-authenticate: x\r\nkeep-alive: 5\r\n\r\nhi").await;
    let (mut stream, told, serving) = client(port);
    let said = format!(
        "POST http://good.here:{port}/a?b=c HTTP/1.1\r\nhost: GOOD.here:{port}\r\nproxy-authorization: Basic x\r\nconnection: keep-alive, x-hop\r\n\
         x-hop: 1\r\nx-kept: 2\r\ncontent-length: 27\r\n\r\nGET http://evil.here/ HTTP/"
    );
    stream.write_all(said.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("proxy-authenticate") && !answer.contains("keep-alive"), "{answer}");
    let mut body = [0; 2];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"hi");
    // the same connection, another host: decided by itself
    stream.write_all(format!("GET http://evil.here:{port}/ HTTP/1.1\r\nhost: evil.here:{port}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 403"));
    drop(stream);
    serving.await.unwrap();
    let heard = String::from_utf8(hears.await.unwrap()).unwrap();
    assert!(heard.starts_with("POST /a?b=c HTTP/1.1\r\n") && heard.contains(&format!("host: good.here:{port}\r\n")), "{heard}");
    assert!(heard.contains("x-kept: 2") && !heard.contains("x-hop") && !heard.contains("proxy-"), "{heard}");
    assert!(heard.ends_with("\r\n\r\nGET http://evil.here/ HTTP/"), "the body went on as a body: {heard}");
    let all = told.all();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().any(|contact| contact.outcome == Outcome::Refused(Refusal::NotGranted)));
    assert!(all.iter().any(|contact| contact.outcome == Outcome::Reached && contact.bytes_out == heard.len() as u64));
}

#[tokio::test]
async fn what_is_cut_off_is_told() {
    let (port, _hears) = host("", 1 << 20, "").await;
    let (mut stream, told, serving) = client(port);
    stream.write_all(format!("CONNECT good.here:{port} HTTP/1.1\r\n\r\nabc").as_bytes()).await.unwrap();
    head(&mut stream).await;
    while !serving.is_finished() && told.all().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        serving.abort();
    }
    assert!(serving.await.unwrap_err().is_cancelled());
    assert!(told.one().starts_with("good.here 0 "), "{}", told.one());
}
