//! The admin port: what it tells, and whom.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews};

#[test]
fn the_admin_port_tells_what_is_in_force_and_refuses_pages_from_elsewhere() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ");
    assert!(admin.ip().is_loopback());
    let here = admin.to_string();
    let asked = "/explain?method=GET&url=http://shop.test/reviews/0";
    for (method, path, host, origin, status, says) in [
        ("GET", "/", here.as_str(), None, 200, "GET /config"),
        ("GET", "/version", "localhost", None, 200, "trysail 0."),
        ("GET", "/config", &here, None, 200, "\"revision\": \""),
        ("GET", asked, &here, None, 200, "\"default/reviews http[0]\""),
        ("GET", asked, &here, Some(format!("http://{here}")), 200, "\"turns\": ["),
        ("GET", "/explain", &here, None, 400, "lacks scheme or host"),
        ("GET", "/explain?url=http://a.test/&x=1", &here, None, 400, "\"x\" is not asked for"),
        ("GET", "/nothing", &here, None, 404, "GET /config"),
        ("POST", "/config", &here, None, 405, "GET"),
        ("DELETE", "/explain", &here, None, 405, "GET"),
        ("GET", "/config", "evil.test", None, 403, "Host"),
        ("GET", "/config", &here, Some("http://evil.test".to_owned()), 403, "foreign"),
        ("POST", "/explain", &here, Some("null".to_owned()), 403, "foreign"),
    ] {
        let headers: Vec<(&str, &str)> = origin.iter().map(|origin| ("origin", origin.as_str())).collect();
        let mut client = Client::connect(admin).expect("the admin port accepts");
        let body = (method == "POST").then_some(&b"method=GET"[..]);
        let reply = client.request(method, host, path, &headers, body).expect("an answer");
        assert_eq!(reply.status, status, "{method} {path} {host}: {}", reply.text());
        assert!(reply.text().contains(says), "{method} {path} {host}: {}", reply.text());
    }
    let mut client = Client::connect(admin).expect("the admin port accepts");
    let form = b"method=POST&url=http%3A%2F%2Fshop.test%2Fx&header=x-a%3A+1";
    let reply = client.request("POST", &here, "/explain", &[], Some(form)).expect("an answer");
    assert!(reply.status == 200 && reply.text().contains("404, flag NR"), "{}", reply.text());
}

const TOKEN: &str = "open-sesame-0123456789";

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let secrets = Folder::new();
    secrets.write("token", &format!("{TOKEN}\n"));
    let path = secrets.path().join("token");
    let path = path.to_str().expect("UTF-8");
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway("", &format!("adminToken: {path}\n"));
    let admin = gateway.logged("admin on ");
    let right = format!("Bearer {TOKEN}");
    for (shown, host, status) in [
        (Some(right.as_str()), "localhost", 200),
        (Some(&right), "gateway.test", 200),
        (Some("Bearer open-sesame"), "localhost", 401),
        (None, "localhost", 401),
    ] {
        let fields: Vec<_> = shown.iter().map(|shown| ("authorization", *shown)).collect();
        for path in ["/", "/config", "/version", "/explain?url=http://shop.test/", "/nothing"] {
            let reply = Client::connect(admin).unwrap().get(host, path, &fields).expect("an answer");
            let status = if status == 200 && path == "/nothing" { 404 } else { status };
            assert_eq!(reply.status, status, "{shown:?} {host} {path}");
            assert!(!reply.text().contains(TOKEN));
        }
    }
    let here = admin.to_string();
    for (arguments, code, says) in [
        (
            vec!["explain", "--live", "--token", path, &here, "GET", "http://shop.test/reviews/0"],
            0,
            "default/reviews",
        ),
        (vec!["explain", "--live", &here, "GET", "http://shop.test/reviews/0"], 2, "401"),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_trysail")).args(&arguments).output().expect("trysail runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says) && !said.contains(TOKEN), "{arguments:?}: {said}");
    }
    assert!(!gateway.process.lines().join("\n").contains(TOKEN));
}

#[test]
fn an_admin_port_that_others_reach_has_a_token_or_nothing_starts() {
    let reviews = Reviews::start(&["v1"]);
    let folder = reviews.folder();
    let settings = Folder::new();
    settings.write("short", "sesame");
    let (short, none) = (settings.path().join("short"), settings.path().join("nothing"));
    for (admin, token, says) in [
        ("0.0.0.0:0", None, "could be asked by anyone"),
        ("[::]:0", None, "adminToken"),
        ("0.0.0.0:0", Some(&short), "holds no token"),
        ("127.0.0.1:0", Some(&none), "can't be read"),
    ] {
        let token = token.map(|path| format!("adminToken: {}\n", path.display())).unwrap_or_default();
        settings.write(
            "settings.yaml",
            &format!("bind: 127.0.0.1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: '{admin}'\n{token}"),
        );
        let file = settings.path().join("settings.yaml");
        for test in [&[][..], &["-t"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_trysail"));
            command
                .args(["run", "--port", "80=0", "--config"])
                .arg(folder.path())
                .arg("--settings")
                .arg(&file);
            let output = command.args(test).stdin(Stdio::null()).output().expect("trysail runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{admin} {test:?}: {said}");
            assert!(said.contains(says) && !said.contains("sesame"), "{admin} {test:?}: {said}");
        }
    }
}

#[test]
fn the_ports_of_the_process_are_for_reading_and_have_room_for_some() {
    let reviews = Reviews::start(&["v1"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let (metrics, health) = (gateway.logged("metrics on "), gateway.logged("health on "));
    for (address, path) in [(metrics, "/metrics"), (metrics, "/stats/prometheus"), (health, "/healthz/ready")]
    {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let mut client = Client::connect(address).expect("the port accepts");
            let reply = client.request(method, "localhost", path, &[], None).expect("an answer");
            assert_eq!(reply.status, 405, "{method} {path}");
        }
    }
    let answers = || fetch(health, "localhost", "/healthz/ready").is_ok_and(|reply| reply.status == 200);
    assert!(answers());
    let connect = || TcpStream::connect(health).expect("a connection");
    let mut idle: Vec<TcpStream> = (0..255).map(|_| connect()).collect();
    // They are let in one after another, one too few if a client of before had not left yet, and then there is no
    // room; the other ports have rooms of their own.
    let is_full = || {
        idle.push(connect());
        !answers()
    };
    eventually(PATIENCE, "the room is full", is_full);
    assert_eq!(fetch(metrics, "localhost", "/metrics").expect("an answer").status, 200);
    drop(idle);
    eventually(PATIENCE, "there is room again", answers);
}
