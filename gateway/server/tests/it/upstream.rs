//! How upstreams are spoken to: TLS with what is trusted and shown, HTTP/2, and what a DestinationRule says of it.

use std::net::SocketAddr;

use trysail_testkit::folder::Folder;
use trysail_testkit::tls::{self, Authority};

use crate::gateway::{Gateway, HTTP, service_entry, shop};

const RULES: &str = "  http:
  - match: [{uri: {prefix: /rewritten}}]
    rewrite: {authority: origin.test}
    route: [{destination: {host: reviews}}]
  - route: [{destination: {host: reviews}}]
";

fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\nspec:\n  host: reviews\n  trafficPolicy: {{{policy}}}\n"
    )
}

fn site(endpoint: SocketAddr, policy: &str) -> Folder {
    let folder = Folder::new();
    folder.write("route.yaml", &shop(HTTP, RULES));
    folder.write("endpoints.yaml", &service_entry(&[("v1", endpoint)]));
    folder.write("rule.yaml", &rule(policy));
    folder
}

fn ask(gateway: &Gateway, host: &str, path: &str) -> String {
    let reply = gateway.client().get(host, path, &[]).expect("an answer");
    if reply.status == 200 { reply.text() } else { reply.status.to_string() }
}

#[test]
fn tls_towards_an_upstream_is_checked_as_it_is_written() {
    let authority = Authority::new("root");
    let pair = authority.issue(&["origin.test"]);
    let (files, own) = (Folder::new(), authority.issue(&["gateway.test"]));
    files.write("ca.crt", &authority.pem());
    files.write("other.crt", &Authority::new("other").pem());
    files.write("own.crt", &own.certificate);
    files.write("own.key", &own.key);
    let root = files.path().display();
    let open = tls::https_origin(&pair, None);
    let closed = tls::https_origin(&pair, Some(&authority));
    let gateway = {
        let folder = site(open, &format!("tls: {{mode: SIMPLE, caCertificates: {root}/ca.crt}}"));
        (Gateway::start(folder.path()), folder)
    };
    let (gateway, folder) = &gateway;
    // Without a name of its own, the request's host is sent and looked for, as it is after a rewrite.
    assert_eq!(ask(gateway, "origin.test:80", "/"), "name origin.test, 0 certificates");
    assert_eq!(ask(gateway, "shop.test", "/rewritten"), "name origin.test, 0 certificates");
    assert_eq!(ask(gateway, "shop.test", "/"), "503");
    for (endpoint, policy, host, answer) in [
        (open, format!("mode: SIMPLE, caCertificates: {root}/other.crt"), "origin.test", "503"),
        // A name that is given is sent and, as Istio has it, not looked for.
        (
            open,
            format!("mode: SIMPLE, caCertificates: {root}/ca.crt, sni: any.test"),
            "x.test",
            "name any.test, 0 certificates",
        ),
        (
            open,
            format!("mode: SIMPLE, caCertificates: {root}/ca.crt, subjectAltNames: [origin.test]"),
            "x.test",
            "name origin.test, 0 certificates",
        ),
        (
            open,
            format!("mode: SIMPLE, caCertificates: {root}/ca.crt, subjectAltNames: [wrong.test]"),
            "origin.test",
            "503",
        ),
        (open, "mode: SIMPLE, insecureSkipVerify: true".to_owned(), "x.test", "name x.test, 0 certificates"),
        (closed, format!("mode: SIMPLE, caCertificates: {root}/ca.crt"), "origin.test", "503"),
        (
            closed,
            format!(
                "mode: MUTUAL, caCertificates: {root}/ca.crt, clientCertificate: {root}/own.crt, privateKey: {root}/own.key"
            ),
            "origin.test",
            "name origin.test, 1 certificates",
        ),
        (open, "mode: DISABLE".to_owned(), "origin.test", "502"),
    ] {
        folder.write("endpoints.yaml", &service_entry(&[("v1", endpoint)]));
        gateway.after(|| folder.write("rule.yaml", &rule(&format!("tls: {{{policy}}}"))), "in force");
        assert_eq!(ask(gateway, host, "/"), answer, "{policy}");
    }
    let refused = gateway.after(
        || {
            let policy = format!("tls: {{mode: SIMPLE, caCertificates: {root}/none.crt}}");
            folder.write("rule.yaml", &rule(&policy));
        },
        "error[IST0101]",
    );
    assert!(refused.contains("none.crt can't be read"), "{refused}");
}

#[test]
fn why_tls_towards_an_upstream_fails_is_told_and_logged_once() {
    let authority = Authority::new("root");
    let pair = authority.issue(&["origin.test"]);
    let files = Folder::new();
    files.write("ca.crt", &authority.pem());
    files.write("other.crt", &Authority::new("other").pem());
    let root = files.path().display();
    let open = tls::https_origin(&pair, None);
    let closed = tls::https_origin(&pair, Some(&authority));
    let failed = "503 upstream connect error or disconnect/reset before headers. ";
    for (endpoint, policy, reason, words) in [
        (
            open,
            format!("mode: SIMPLE, caCertificates: {root}/other.crt, sni: origin.test"),
            "retried and the latest reset reason: remote connection failure, transport failure reason: TLS_error:|CERTIFICATE_VERIFY_FAILED: unknown issuer:TLS_error_end",
            "its certificate is not trusted",
        ),
        (
            open,
            format!("mode: SIMPLE, caCertificates: {root}/ca.crt, subjectAltNames: [wrong.test]"),
            "retried and the latest reset reason: remote connection failure, transport failure reason: TLS_error:|CERTIFICATE_VERIFY_FAILED: name mismatch:TLS_error_end",
            "its certificate is not for the name \"wrong.test\": it is only valid for DnsName(\"origin.test\")",
        ),
        (
            closed,
            format!("mode: SIMPLE, caCertificates: {root}/ca.crt, sni: origin.test"),
            "reset reason: connection termination, transport failure reason: TLS_error:|refused by the endpoint:TLS_error_end",
            "CertificateRequired",
        ),
    ] {
        let folder = site(endpoint, &format!("tls: {{{policy}}}"));
        let gateway = Gateway::start(folder.path());
        let ask = || {
            let reply = gateway.client().request("POST", "a", "/", &[], None).expect("an answer");
            format!("{} {}", reply.status, reply.text())
        };
        let line = gateway.after(|| assert_eq!(ask(), format!("{failed}{reason}"), "{policy}"), "failed:");
        let place = format!("TLS towards {endpoint} (reviews) failed: ");
        assert!(line.contains("WARN") && line.contains(&place) && line.contains(words), "{line}");
        ask();
        let lines = gateway.process.lines();
        assert_eq!(lines.iter().filter(|line| line.contains("failed:")).count(), 1, "{lines:?}");
    }
}

/// An origin that speaks HTTP/2 alone, with prior knowledge, and answers with what it was asked for.
pub(crate) fn h2_origin(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let text = format!(
                            "{} {}",
                            request.uri().authority().map_or("", |a| a.as_str()),
                            request.uri().path()
                        );
                        let answer = http::Response::new(());
                        if let Ok(mut body) = respond.send_response(answer, false) {
                            let _ = body.send_data(text.into(), true);
                        }
                    }
                });
            }
        });
        endpoint
    })
}

#[test]
fn http2_is_spoken_where_the_rule_or_the_client_says_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let endpoint = h2_origin(&runtime);
    let folder = site(endpoint, "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}");
    let gateway = Gateway::start(folder.path());
    assert_eq!(ask(&gateway, "shop.test", "/a"), "shop.test /a");
    assert_eq!(ask(&gateway, "shop.test", "/rewritten"), "origin.test /rewritten");
    gateway.after(
        || folder.write("rule.yaml", &rule("connectionPool: {http: {useClientProtocol: true}}")),
        "in force",
    );
    // This client speaks HTTP/1.1, which that origin does not.
    assert_ne!(ask(&gateway, "shop.test", "/a"), "shop.test /a");
    let address = gateway.address();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for path in ["/a", "/rewritten"] {
            let request = http::Request::get(format!("http://shop.test{path}")).body(()).unwrap();
            sender = sender.ready().await.unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200, "{path}");
        }
    });
}
