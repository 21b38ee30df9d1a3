//! TLS that ends at the gateway: by name, by version, by client certificate, and renewed while it serves.

use std::io::Read;
use std::sync::Arc;

use rustls::ClientConfig;
use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::tls::{self, Authority, Pair};

use crate::gateway::{Gateway, PATIENCE, Reviews};

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test, bank.test]
  gateways: [shop]
  http:
  - match: [{scheme: {exact: https}}]
    route: [{destination: {host: reviews}}]
";

fn gateway(servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop}}\nspec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{servers}"
    )
}

fn https(name: &str, host: &str, tls: &str) -> String {
    format!("  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{host}], tls: {{{tls}}}}}\n")
}

/// Configuration, certificates and an origin.
struct Site {
    reviews: Reviews,
    folder: Folder,
    certificates: Folder,
    authority: Authority,
}

impl Site {
    fn new(servers: &str) -> Site {
        let reviews = Reviews::start(&["v1"]);
        let folder = Folder::new();
        folder.write("gateway.yaml", &gateway(servers));
        folder.write("service.yaml", SERVICE);
        folder.write("endpoints.yaml", &reviews.service_entry());
        let site =
            Site { reviews, folder, certificates: Folder::new(), authority: Authority::new("test root") };
        site.issue("shop", &["shop.test"]);
        site.certificates.write("shop/ca.crt", &site.authority.pem());
        site
    }

    fn issue(&self, credential: &str, names: &[&str]) -> Pair {
        let pair = self.authority.issue(names);
        self.certificates.write(&format!("{credential}/tls.key"), &pair.key);
        self.certificates.write(&format!("{credential}/tls.crt"), &pair.certificate);
        pair
    }

    fn settings(&self) -> String {
        format!("ports: {{443: 0, 5432: 0}}\ncertificates: {}\n", self.certificates.path().display())
    }

    fn start(&self) -> Gateway {
        let gateway = Gateway::spawn(self.folder.path(), &self.settings());
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        gateway
    }
}

/// The status of a GET over TLS, or what went wrong.
fn status(gateway: &Gateway, name: &str, host: &str, config: &Arc<ClientConfig>) -> String {
    let addr = gateway.logged("listening 443 → ");
    let answer = tls::connect(addr, name, config).and_then(|mut client| tls::get(&mut client, host, "/"));
    match answer {
        Ok(text) => text.split(' ').nth(1).unwrap_or("closed").to_owned(),
        Err(error) if error.to_string().contains("CertificateRequired") => "certificate required".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn tls_ends_by_name_and_the_upstream_is_told() {
    let site = Site::new(
        &(https("shop", "shop.test", "mode: SIMPLE, credentialName: shop")
            + &https("bank", "bank.test", "mode: SIMPLE, credentialName: bank")),
    );
    site.issue("bank", &["bank.test"]);
    let gateway = site.start();
    let client = site.authority.client(&["http/1.1"], None);
    for (name, host, wanted) in [
        ("shop.test", "shop.test", "200"),
        ("bank.test", "bank.test", "200"),
        ("shop.test", "SHOP.test:443", "200"),
        // Each server has hosts of its own.
        ("shop.test", "bank.test", "404"),
    ] {
        assert_eq!(status(&gateway, name, host, &client), wanted, "{name} {host}");
    }
    let unknown = status(&gateway, "nobody.test", "shop.test", &client);
    assert!(unknown.parse::<u16>().is_err(), "{unknown}");
    let head = site.reviews.origins["v1"].last_request().expect("a request came");
    assert!(head.contains("x-forwarded-proto: https\n"), "{head}");
    // In the clear on a port of TLS: closed, with nothing that could be taken for an answer.
    let plain = Client::connect(gateway.logged("listening 443 → ")).unwrap().get("shop.test", "/", &[]);
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn http2_is_agreed_on_where_the_client_offers_it() {
    let site = Site::new(&https("shop", "shop.test", "mode: SIMPLE, credentialName: shop"));
    let gateway = site.start();
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let config = site.authority.client(offered, None);
        let client = tls::connect(gateway.logged("listening 443 → "), "shop.test", &config).unwrap();
        assert_eq!(client.conn.alpn_protocol(), agreed, "{offered:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = site.authority.client(&["h2"], None);
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.logged("listening 443 → ")).await.unwrap();
        let name = "shop.test".try_into().unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        for (host, wanted) in [("shop.test", 200), ("bank.test", 404), ("shop.test", 200)] {
            let request = http::Request::get(format!("https://{host}/")).body(()).unwrap();
            sender = sender.ready().await.unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), wanted, "{host}");
        }
        connection.abort();
    });
}

#[test]
fn clients_show_certificates_where_they_are_asked_to() {
    let mutual = https("shop", "shop.test", "mode: MUTUAL, credentialName: shop");
    let optional = https("bank", "bank.test", "mode: OPTIONAL_MUTUAL, credentialName: bank");
    let named = https("ann", "ann.test", "mode: MUTUAL, credentialName: shop, subjectAltNames: [ann.client]");
    let site = Site::new(&(mutual + &optional + &named));
    site.issue("bank", &["bank.test"]);
    site.issue("shop", &["shop.test", "ann.test"]);
    site.certificates.write("bank-cacert/ca.crt", &site.authority.pem());
    let gateway = site.start();
    let (ann, bob) = (site.authority.issue(&["ann.client"]), site.authority.issue(&["bob.client"]));
    let stranger = Authority::new("another root").issue(&["ann.client"]);
    let client = |pair: Option<&Pair>| site.authority.client(&[], pair);
    for (who, pair, name, served) in [
        ("nobody", None, "shop.test", false),
        ("ann", Some(&ann), "shop.test", true),
        ("a stranger", Some(&stranger), "shop.test", false),
        ("nobody", None, "bank.test", true),
        ("ann", Some(&ann), "bank.test", true),
        ("a stranger", Some(&stranger), "bank.test", false),
        ("ann", Some(&ann), "ann.test", true),
        ("bob", Some(&bob), "ann.test", false),
    ] {
        let answer = status(&gateway, name, name, &client(pair));
        // ann.test has no route, so whoever is let in gets a 404.
        assert_eq!(answer == "200" || answer == "404", served, "{who} at {name}: {answer}");
    }
    assert_eq!(status(&gateway, "shop.test", "shop.test", &client(Some(&ann))), "200");
    let head = site.reviews.origins["v1"].last_request().expect("a request came");
    let told =
        head.lines().find_map(|line| line.strip_prefix("x-forwarded-client-cert: ")).expect("told of ann");
    assert!(told.starts_with("Hash=") && told.contains("Cert=\"-----BEGIN%20CERTIFICATE-----%0A"), "{told}");
    assert!(told.contains("Subject=\"O=Trysail\\\\, Inc.,CN=ann.client\";DNS=ann.client"), "{told}");
}

#[test]
fn a_renewed_certificate_is_shown_and_touches_no_connection() {
    let site = Site::new(&https("shop", "shop.test", "mode: SIMPLE, credentialName: shop"));
    let gateway = site.start();
    let client = site.authority.client(&[], None);
    let addr = gateway.logged("listening 443 → ");
    let mut before = tls::connect(addr, "shop.test", &client).unwrap();
    gateway.after(
        || {
            site.issue("shop", &["shop.test", "new.shop.test"]);
        },
        "credentials renewed",
    );
    let after = tls::connect(addr, "shop.test", &client).unwrap();
    let shown = |client: &tls::TlsClient| client.conn.peer_certificates().unwrap()[0].to_vec();
    assert_ne!(shown(&before), shown(&after));
    assert!(tls::get(&mut before, "shop.test", "/").unwrap().starts_with("HTTP/1.1 200"));
    // Half a renewal, or none that fits, changes nothing and says so.
    let refused = gateway.after(|| site.certificates.write("shop/tls.key", "no key"), "refused");
    assert!(refused.contains("stays in force"), "{refused}");
    let mut still = tls::connect(addr, "shop.test", &client).unwrap();
    assert_eq!(shown(&still), shown(&after));
    assert!(tls::get(&mut still, "shop.test", "/").unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_credential_that_is_not_there_or_is_none_is_a_finding() {
    for (what, break_it, code) in [
        ("no such name", None, "IST0101"),
        ("a key of another certificate", Some("key"), "IST0161"),
        ("no certificate", Some("crt"), "IST0161"),
    ] {
        let credential = if break_it.is_none() { "nobody" } else { "shop" };
        let site =
            Site::new(&https("shop", "shop.test", &format!("mode: SIMPLE, credentialName: {credential}")));
        match break_it {
            Some("key") => site.certificates.write("shop/tls.key", &Authority::new("x").issue(&["x"]).key),
            Some(_) => site.certificates.write("shop/tls.crt", "nothing"),
            None => {}
        }
        let gateway = Gateway::spawn(site.folder.path(), &site.settings());
        let code = format!("error[{code}]");
        let line = gateway.process.wait_for_line(|line| line.contains(&code), PATIENCE);
        assert!(line.is_some(), "{what}:\n{}", gateway.process.lines().join("\n"));
        assert_eq!(gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(78), "{what}");
    }
}

#[test]
fn versions_and_suites_are_those_that_are_written() {
    let servers = https(
        "new",
        "shop.test",
        "mode: SIMPLE, credentialName: shop, minProtocolVersion: TLSV1_3",
    ) + &https(
        "old",
        "bank.test",
        "mode: SIMPLE, credentialName: bank, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]",
    );
    let site = Site::new(&servers);
    site.issue("bank", &["bank.test"]);
    let gateway = site.start();
    let addr = gateway.logged("listening 443 → ");
    let client = site.authority.client(&[], None);
    let new = tls::connect(addr, "shop.test", &client).unwrap();
    assert_eq!(new.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let old = tls::connect(addr, "bank.test", &client).unwrap();
    assert_eq!(old.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let suite = old.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
}

#[test]
fn idle_handshakes_are_cut() {
    let site = Site::new(&https("shop", "shop.test", "mode: SIMPLE, credentialName: shop"));
    let settings = format!("{}downstream: {{handshakeTimeout: 200ms}}\n", site.settings());
    let gateway = Gateway::spawn(site.folder.path(), &settings);
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let mut stream = std::net::TcpStream::connect(gateway.logged("listening 443 → ")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, &[22, 3, 1]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn a_client_says_nothing_of_its_own_certificate() {
    let site = Site::new(&https("shop", "shop.test", "mode: OPTIONAL_MUTUAL, credentialName: shop"));
    let gateway = site.start();
    let ann = site.authority.issue(&["ann.client"]);
    for pair in [None, Some(&ann)] {
        let addr = gateway.logged("listening 443 → ");
        let mut client = tls::connect(addr, "shop.test", &site.authority.client(&[], pair)).unwrap();
        let lie = "/ HTTP/1.1\r\nx-forwarded-client-cert: Subject=\"CN=root\"\r\nx_forwarded_client_cert: root\r\nconnection: close\r\nx-lie:";
        assert!(tls::get(&mut client, "shop.test", lie).unwrap().starts_with("HTTP/1.1 200"));
        let head = site.reviews.origins["v1"].last_request().expect("a request came");
        assert!(head.contains("x-lie:"), "the lie was told: {head}");
        assert!(!head.contains("root"), "{head}");
        assert_eq!(head.matches("client-cert: Hash=").count(), usize::from(pair.is_some()), "{head}");
    }
}

#[test]
fn a_host_of_another_server_is_404_or_421_as_set() {
    let servers = https("shop", "shop.test", "mode: SIMPLE, credentialName: shop")
        + &https("bank", "bank.test", "mode: SIMPLE, credentialName: bank");
    let site = Site::new(&servers);
    site.issue("bank", &["bank.test"]);
    let client = site.authority.client(&["http/1.1"], None);
    for (setting, other) in [("", "404"), ("otherServer: 404\n", "404"), ("otherServer: 421\n", "421")] {
        let gateway = Gateway::spawn(site.folder.path(), &(site.settings() + setting));
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        for (name, host, wanted) in [
            ("shop.test", "shop.test", "200"),
            ("shop.test", "bank.test", other),
            ("bank.test", "SHOP.test:443", other),
            ("shop.test", "nobody.test", "404"),
        ] {
            assert_eq!(status(&gateway, name, host, &client), wanted, "{setting} {name} {host}");
        }
    }
}

/// What the process says where it is asked, and in its log.
fn dump(gateway: &Gateway) -> String {
    let mut all = gateway.process.lines().join("\n");
    let admin = gateway.logged("admin on ");
    let explain = "/explain?method=GET&url=https://shop.test/";
    for (addr, path) in [
        (admin, "/"),
        (admin, "/config"),
        (admin, "/version"),
        (admin, explain),
        (gateway.logged("metrics on "), "/metrics"),
        (gateway.logged("health on "), "/healthz/ready"),
    ] {
        let reply = Client::connect(addr).expect("a port").get("localhost", path, &[]).expect("an answer");
        assert_eq!(reply.status, 200, "{path}");
        all.push_str(&reply.text());
    }
    all
}

#[test]
fn a_key_that_can_not_be_read_changes_nothing_and_no_key_is_ever_shown() {
    let site = Site::new(&https("shop", "shop.test", "mode: SIMPLE, credentialName: shop"));
    let good = site.issue("shop", &["shop.test"]);
    let gateway = site.start();
    let client = site.authority.client(&[], None);
    let key = site.certificates.path().join("shop/tls.key");
    let spoilt = good.key.replacen("PRIVATE KEY", "PRIVATE KAY", 1);
    let cut: String = good.key.lines().take(2).collect::<Vec<_>>().join("\n");
    for wrong in [Some(spoilt.as_str()), Some(&cut), Some(&site.authority.issue(&["shop.test"]).key), None] {
        let finding = match wrong {
            Some(text) => gateway.after(|| site.certificates.write("shop/tls.key", text), "refused"),
            // Tests may run as root, who can read everything but a directory.
            None => gateway.after(
                || {
                    std::fs::remove_file(&key).unwrap();
                    std::fs::create_dir(&key).unwrap();
                },
                "refused",
            ),
        };
        assert!(finding.contains("stays in force"), "{finding}");
        assert_eq!(status(&gateway, "shop.test", "shop.test", &client), "200");
    }
    let said = dump(&gateway);
    assert!(said.contains("tls.key"), "the findings name the file: {said}");
    let secret: Vec<&str> =
        good.key.lines().filter(|line| line.len() > 16 && !line.starts_with('-')).collect();
    assert!(!secret.is_empty() && !said.contains("PRIVATE"), "{said}");
    for line in secret {
        assert!(!said.contains(&line[..16]), "a key is shown:\n{said}");
    }
}
