//! Bytes that are passed on: TCP by port, TLS by name, each unopened or opened.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use trysail_testkit::folder::Folder;
use trysail_testkit::tls::{self, Authority};

use crate::gateway::{Gateway, PATIENCE};

/// An origin that sends back a word and then all that it got, once the client has ended.
pub(crate) fn echo(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = word.as_bytes().to_vec();
                let _ = stream.set_read_timeout(Some(PATIENCE));
                if stream.read_to_end(&mut bytes).is_ok() {
                    let _ = stream.write_all(&bytes);
                }
            });
        }
    });
    addr
}

fn service(name: &str, endpoints: &[(&str, SocketAddr)]) -> String {
    let mut text = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}.default.svc.cluster.local]\n  resolution: STATIC\n  ports: [{{number: 9000, name: tcp, protocol: TCP}}]\n  endpoints:\n"
    );
    for (version, addr) in endpoints {
        let (ip, port) = (addr.ip(), addr.port());
        text.push_str(&format!(
            "  - {{address: {ip}, ports: {{tcp: {port}}}, labels: {{version: {version}}}}}\n"
        ));
    }
    text.push_str(&format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec:\n  host: {name}\n  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n"
    ));
    text
}

fn start(config: &Folder, settings: &str) -> Gateway {
    let gateway = Gateway::spawn(config.path(), settings);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    gateway
}

/// Sends bytes, ends, and reads the answer.
fn ask(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut writer = stream.try_clone().expect("another handle");
    let bytes = bytes.to_owned();
    let sent = thread::spawn(move || {
        let _ = writer.write_all(&bytes);
        let _ = writer.shutdown(Shutdown::Write);
    });
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    sent.join().expect("the sender ends");
    answer
}

#[test]
fn connections_are_split_exactly_and_passed_on_whole() {
    let folder = Folder::new();
    let tcp = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: [\"*\"]}
  - {port: {number: 81, name: empty, protocol: TCP}, hosts: [\"*\"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.test]
  gateways: [shop]
  tcp:
  - match: [{port: 5432}]
    route:
    - {destination: {host: db, subset: v1}, weight: 80}
    - {destination: {host: db, subset: v2}, weight: 20}
  - match: [{port: 81}]
    route: [{destination: {host: gone}}]
";
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    folder.write("tcp.yaml", tcp);
    folder.write("db.yaml", &service("db", &[("v1", echo("1")), ("v2", echo("2"))]));
    folder.write("gone.yaml", &service("gone", &[("v1", nobody)]));
    let gateway = start(&folder, "ports: {5432: 0}\n");
    let addr = gateway.logged("listening 5432 → ");
    let mut counts = [0, 0];
    for _ in 0..20 {
        match ask(addr, b"x").as_slice() {
            b"1x" => counts[0] += 1,
            b"2x" => counts[1] += 1,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert_eq!(counts, [16, 4]);
    let large: Vec<u8> = (0..4_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let answer = ask(addr, &large);
    assert!(answer.len() == large.len() + 1 && answer[1..] == large[..], "{} bytes", answer.len());
    // Nobody answers there: closed, without a byte.
    assert_eq!(ask(gateway.logged("listening 81 → "), b"x"), b"");
}

#[test]
fn tls_is_passed_on_unopened_or_opened_as_its_name_says() {
    let authority = Authority::new("root");
    let own = authority.issue(&["pass.test"]);
    let certificates = Folder::new();
    let pair = authority.issue(&["db.test"]);
    certificates.write("db/tls.crt", &pair.certificate);
    certificates.write("db/tls.key", &pair.key);
    let folder = Folder::new();
    let objects = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: pass, protocol: TLS}, hosts: [pass.test], tls: {mode: PASSTHROUGH}}
  - {port: {number: 443, name: db, protocol: TLS}, hosts: [db.test], tls: {mode: SIMPLE, credentialName: db}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pass}
spec:
  hosts: [pass.test]
  gateways: [shop]
  tls:
  - match: [{sniHosts: [pass.test]}]
    route: [{destination: {host: pass}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.test]
  gateways: [shop]
  tcp:
  - route: [{destination: {host: db}}]
";
    folder.write("objects.yaml", objects);
    folder.write("pass.yaml", &service("pass", &[("v1", tls::echo("own", &own))]));
    folder.write("db.yaml", &service("db", &[("v1", echo("inside "))]));
    let settings = format!("ports: {{443: 0}}\ncertificates: {}\n", certificates.path().display());
    let gateway = start(&folder, &settings);
    let addr = gateway.logged("listening 443 → ");
    let config = authority.client(&[], None);

    let mut client = tls::connect(addr, "pass.test", &config).unwrap();
    let shown = client.conn.peer_certificates().unwrap()[0].to_vec();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"own hello");

    let mut client = tls::connect(addr, "db.test", &config).unwrap();
    assert_ne!(client.conn.peer_certificates().unwrap()[0].to_vec(), shown);
    client.write_all(b"hello").unwrap();
    client.conn.send_close_notify();
    let _ = client.flush();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert_eq!(answer, b"inside hello");
    assert!(tls::connect(addr, "nobody.test", &config).is_err());
}
