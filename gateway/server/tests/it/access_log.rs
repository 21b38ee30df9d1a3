//! The access log: one line for each request, whatever becomes of it, and none that anybody waits for.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use trysail_testkit::folder::Folder;
use trysail_testkit::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, frame, request};
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::raw::refused;
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, HTTP, PATIENCE, shop};
use crate::timeout::talker;

/// A service of HTTP with one endpoint.
pub(crate) fn service(host: &str, address: SocketAddr) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
         resolution: STATIC\n  ports: [{{number: 9080, name: http, protocol: HTTP}}]\n  endpoints: [{{address: {}, ports: \
         {{http: {}}}}}]\n",
        address.ip(),
        address.port()
    )
}

const RULES: &str = "  http:
  - name: abort
    match: [{uri: {exact: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: web.test}}]
  - match: [{uri: {exact: /hour}}]
    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    route: [{destination: {host: web.test}}]
  - match: [{uri: {exact: /redirect}}]
    redirect: {uri: /there}
  - match: [{uri: {exact: /direct}}]
    directResponse: {status: 403, body: {string: none}}
  - match: [{uri: {exact: /refused}}]
    retries: {attempts: 0}
    route: [{destination: {host: gone.test}}]
  - match: [{uri: {exact: /refused-again}}]
    retries: {attempts: 2, retryOn: connect-failure}
    route: [{destination: {host: gone.test}}]
  - match: [{uri: {exact: /empty}}]
    route: [{destination: {host: web.test, subset: none}}]
  - match: [{uri: {exact: /silent}}]
    timeout: 100ms
    route: [{destination: {host: silent.test}}]
  - match: [{uri: {exact: /each-silent}}]
    timeout: 20s
    retries: {attempts: 1, perTryTimeout: 50ms, retryOn: gateway-error}
    route: [{destination: {host: silent.test}}]
  - match: [{uri: {exact: /half}}]
    timeout: 100ms
    route: [{destination: {host: half.test}}]
  - match: [{uri: {exact: /cut}}]
    retries: {attempts: 0}
    route: [{destination: {host: cut.test}}]
  - match: [{uri: {exact: /cut-again}}]
    retries: {attempts: 1, retryOn: reset}
    route: [{destination: {host: cut.test}}]
  - match: [{uri: {exact: /garbage}}]
    route: [{destination: {host: garbage.test}}]
  - match: [{uri: {exact: /socket}}]
    route: [{destination: {host: socket.test}}]
  - name: cors
    match: [{uri: {exact: /cors}}]
    corsPolicy: {allowOrigins: [{exact: 'https://a.test'}], allowMethods: [GET]}
    route: [{destination: {host: web.test}}]
  - match: [{uri: {prefix: /web}}]
    rewrite: {uri: /inside, authority: inside.test}
    route: [{destination: {host: web.test, subset: all}}]
";

/// A gateway with rules for everything that may become of a request.
struct Shop {
    gateway: Gateway,
    config: Folder,
    logs: Folder,
    web: Origin,
    _cut: Origin,
}

impl Shop {
    fn open(settings: &str) -> Shop {
        let logs = Folder::new();
        let path = logs.path().join("access.log");
        Shop::open_at(logs, &path, settings)
    }

    fn open_at(logs: Folder, path: &Path, settings: &str) -> Shop {
        let web = Origin::start(Answer::version("v1"));
        let cut = Origin::start(Answer::version("v1").cut_after(0));
        let config = Folder::new();
        let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec:\n  host: web.test\n  \
             subsets: [{name: all}, {name: none, labels: {version: none}}]\n";
        let half = talker("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
        let garbage = talker("this is no HTTP\r\n\r\n");
        let switch =
            talker("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
        let services = [
            ("web.test", web.addr()),
            ("gone.test", refused()),
            ("silent.test", talker("")),
            ("half.test", half),
            ("garbage.test", garbage),
            ("socket.test", switch),
            ("cut.test", cut.addr()),
        ];
        let services: String = services.map(|(host, address)| service(host, address)).concat();
        config.write("shop.yaml", &format!("{}{services}{rule}", shop(HTTP, RULES)));
        let settings = format!("accessLog: {{path: {}, {settings}}}\n", path.display());
        let gateway = Gateway::spawn(config.path(), &settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        Shop { gateway, config, logs, web, _cut: cut }
    }

    fn path(&self) -> PathBuf {
        self.logs.path().join("access.log")
    }

    /// Waits until there are so many lines, and gives them.
    fn lines(&self, count: usize) -> Vec<String> {
        wait_for(&self.path(), count)
    }

    /// The same, as objects.
    fn objects(&self, count: usize) -> Vec<Value> {
        self.lines(count).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn get(&self, path: &str) -> u16 {
        self.gateway.client().get("shop.test", path, &[]).map_or(0, |reply| reply.status)
    }
}

fn wait_for(path: &Path, count: usize) -> Vec<String> {
    let lines = || -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    eventually(PATIENCE, &format!("{count} lines in {}", path.display()), || lines().len() >= count);
    let found = lines();
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

#[test]
fn every_outcome_has_a_line_that_says_what_happened() {
    let shop = Shop::open("format: json, origin: true");
    let web = "outbound|9080||web.test";
    let gone = "outbound|9080||gone.test";
    let cut = "outbound|9080||cut.test";
    let silent = "outbound|9080||silent.test";
    for (path, status, flags, details, cluster, attempts) in [
        ("/web/1?q=1", 200, "-", "via_upstream", "outbound|9080|all|web.test", 1),
        ("/cors", 200, "-", "via_upstream", web, 1),
        ("/nowhere", 404, "NR", "route_not_found", "", 0),
        ("/abort", 418, "FI", "fault_filter_abort", "", 0),
        ("/redirect", 301, "-", "direct_response", "", 0),
        ("/direct", 403, "-", "direct_response", "", 0),
        ("/empty", 503, "UH", "no_healthy_upstream", "outbound|9080|none|web.test", 0),
        (
            "/refused",
            503,
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            gone,
            1,
        ),
        (
            "/refused-again",
            503,
            "URX,UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            gone,
            3,
        ),
        ("/cut", 503, "UC", "upstream_reset_before_response_started{connection_termination}", cut, 1),
        (
            "/cut-again",
            503,
            "URX,UC",
            "upstream_reset_before_response_started{connection_termination}",
            cut,
            2,
        ),
        ("/silent", 504, "UT", "response_timeout", silent, 1),
        ("/each-silent", 504, "URX,UT", "upstream_per_try_timeout", silent, 2),
        ("/half", 200, "UT", "response_timeout", "outbound|9080||half.test", 1),
        (
            "/garbage",
            502,
            "UPE",
            "upstream_reset_before_response_started{protocol_error}",
            "outbound|9080||garbage.test",
            1,
        ),
    ] {
        let _ = fs::remove_file(shop.path());
        shop.get(path);
        let [line] = &shop.objects(1)[..] else { panic!("one line") };
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (line["response_code"].as_u64(), text("response_flags"), text("response_code_details")),
            (Some(status), flags.to_owned(), details.to_owned()),
            "{path}: {line}"
        );
        assert_eq!(
            (text("upstream_cluster"), line["attempts"].as_u64()),
            (cluster.to_owned(), Some(attempts)),
            "{line}"
        );
        assert_eq!(
            (text("path"), text("authority"), text("method")),
            (path.to_owned(), "shop.test".into(), "GET".into())
        );
        assert_eq!(
            (text("protocol"), text("x_forwarded_for")),
            ("HTTP/1.1".to_owned(), "127.0.0.1".to_owned())
        );
        assert_eq!(text("request_id").len(), 36, "{line}");
        assert_eq!(text("downstream_local_address"), shop.gateway.address().to_string());
        assert!(text("downstream_remote_address").starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["route_name"].is_null(), !matches!(path, "/cors" | "/abort"), "{line}");
        assert_eq!(line["route"].is_null(), path == "/nowhere", "{line}");
        assert_eq!(text("origin").contains("shop.yaml:"), path != "/nowhere", "{line}");
        assert!(!text("revision").is_empty(), "{line}");
        assert_eq!(text("upstream_host").is_empty(), attempts == 0, "{line}");
        let connected = attempts > 0 && !path.starts_with("/refused");
        assert_eq!(text("upstream_local_address").starts_with("127.0.0.1:"), connected, "{line}");
        assert_eq!(
            line["upstream_service_time"].is_null(),
            details != "via_upstream" && path != "/half",
            "{line}"
        );
        if path == "/half" {
            assert_eq!(line["bytes_sent"].as_u64(), Some(4), "{line}");
        }
        if path == "/silent" || path == "/half" {
            let took = line["duration"].as_u64().expect("a number");
            assert!((95..20_000).contains(&took), "{line}");
        }
    }
    assert_eq!(shop.web.requests(), 2);
}

#[test]
fn clients_that_leave_and_what_is_no_request_have_lines() {
    let shop = Shop::open("format: json");
    // A client that leaves while it waits.
    let mut stream = TcpStream::connect(shop.gateway.address()).expect("the gateway accepts");
    stream.write_all(b"GET /hour HTTP/1.1\r\nhost: a\r\nuser-agent: leaver\r\n\r\n").expect("sent");
    drop(stream);
    let line = &shop.objects(1)[0];
    assert_eq!(
        (line["response_code"].as_u64(), line["response_flags"].as_str()),
        (Some(0), Some("DC")),
        "{line}"
    );
    assert_eq!(line["response_code_details"], "downstream_remote_disconnect");
    assert_eq!(line["user_agent"], "leaver");

    // Heads that never become a request, and one whose path is refused.
    for (bytes, status, details, flags) in [
        ("GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n".to_owned(), 400, "field_name", "DPE"),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(70_000)),
            431,
            "request_headers_too_large",
            "DPE",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(20_000)),
            414,
            "request_headers_too_large",
            "DPE",
        ),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "path", "DPE"),
    ] {
        let _ = fs::remove_file(shop.path());
        let mut stream = TcpStream::connect(shop.gateway.address()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
        let line = &shop.objects(1)[0];
        assert_eq!(
            (
                line["response_code"].as_u64(),
                line["response_code_details"].as_str(),
                line["response_flags"].as_str()
            ),
            (Some(status), Some(details), Some(flags)),
            "{line}"
        );
    }

    // A preflight, which no upstream sees.
    let _ = fs::remove_file(shop.path());
    let preflight = [("origin", "https://a.test"), ("access-control-request-method", "GET")];
    let reply = shop.gateway.client().request("OPTIONS", "a", "/cors", &preflight, None).expect("an answer");
    assert_eq!(reply.status, 200);
    let line = &shop.objects(1)[0];
    assert_eq!(
        (line["method"].as_str(), line["response_code_details"].as_str()),
        (Some("OPTIONS"), Some("cors_response"))
    );

    // gRPC is told with 200, and so is the log.
    let _ = fs::remove_file(shop.path());
    shop.gateway.client().get("a", "/empty", &[("content-type", "application/grpc")]).expect("an answer");
    let line = &shop.objects(1)[0];
    assert_eq!(
        (line["response_code"].as_u64(), line["response_flags"].as_str()),
        (Some(200), Some("UH")),
        "{line}"
    );
}

#[test]
fn bodies_websockets_and_http2_are_measured() {
    let shop = Shop::open("format: json");
    let body = vec![b'x'; 100_000];
    shop.web.set_answer(Answer::version("v1").body(vec![b'y'; 50_000]).chunked());
    shop.gateway.client().request("POST", "a", "/web", &[], Some(&body)).expect("an answer");
    let line = &shop.objects(1)[0];
    assert_eq!(
        (line["bytes_received"].as_u64(), line["bytes_sent"].as_u64()),
        (Some(100_000), Some(50_000)),
        "{line}"
    );

    // A WebSocket has its line when it ends.
    let _ = fs::remove_file(shop.path());
    let mut stream = TcpStream::connect(shop.gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let ask = "GET /socket HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("sent");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        seen.extend(byte);
    }
    stream.write_all(b"hello").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("an echo");
    assert!(!shop.path().exists(), "it is not over");
    drop(stream);
    let line = &shop.objects(1)[0];
    assert_eq!(line["response_code"].as_u64(), Some(101), "{line}");
    assert!(
        line["upstream_local_address"].as_str().is_some_and(|local| local.starts_with("127.0.0.1:")),
        "{line}"
    );
    assert_eq!((line["bytes_received"].as_u64(), line["bytes_sent"].as_u64()), (Some(5), Some(5)), "{line}");

    let _ = fs::remove_file(shop.path());
    let mut stream = TcpStream::connect(shop.gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut bytes = frames::begin(&[]);
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("GET", "/web")));
    stream.write_all(&bytes).expect("sent");
    loop {
        let got = frames::read(&mut stream).expect("a frame");
        if got.kind == DATA && got.flags & END_STREAM != 0 {
            break;
        }
    }
    let line = &shop.objects(1)[0];
    assert_eq!(
        (line["protocol"].as_str(), line["bytes_sent"].as_u64()),
        (Some("HTTP/2"), Some(50_000)),
        "{line}"
    );
}

#[test]
fn istios_own_line_and_nobody_forges_another() {
    let shop = Shop::open("");
    let agent = ("user-agent", "me\" 200 \\ \u{e9}");
    shop.gateway.client().get("shop.test:80", "/web/a%20b", &[agent]).expect("an answer");
    let line = shop.lines(1).remove(0);
    let (start, rest) = line.split_once("] ").expect("a start");
    assert!(start.starts_with("[20") && start.ends_with('Z') && start.len() == 25, "{line}");
    let words: Vec<&str> = rest.split(' ').collect();
    let fixed = "\"GET /web/a%20b HTTP/1.1\" 200 - via_upstream - \"-\" 0 2 ";
    assert!(rest.starts_with(fixed), "{line}");
    assert!(rest.contains(" \"127.0.0.1\" \"me\\x22 200 \\x5C \\xC3\\xA9\" \""), "{line}");
    let end = format!("\" \"shop.test:80\" \"{}\" outbound|9080|all|web.test 127.0.0.1:", shop.web.addr());
    assert!(rest.contains(&end), "{line}");
    assert!(rest.ends_with(" - -"), "{line}");
    assert_eq!(words.len(), 24 + 2, "{line}");
}

#[test]
fn filters_and_shares_choose_lines() {
    let shop = Shop::open("only: errors, template: '%RESPONSE_CODE% %RESPONSE_FLAGS%'");
    for path in ["/web", "/direct", "/abort", "/web", "/empty"] {
        shop.get(path);
    }
    assert_eq!(shop.lines(2), ["418 FI", "503 UH"]);

    let shop = Shop::open("minDuration: 80ms, template: '%REQ(:PATH)%'");
    for path in ["/web", "/silent", "/direct", "/silent"] {
        shop.get(path);
    }
    assert_eq!(shop.lines(2), ["/silent", "/silent"]);

    let shop = Shop::open("sample: 25%, template: '%REQ(:PATH)%'");
    let mut client = shop.gateway.client();
    for _ in 0..100 {
        client.get("a", "/web", &[]).expect("an answer");
    }
    drop(client);
    shop.gateway.process.signal_term().expect("a signal");
    assert!(shop.gateway.process.wait(PATIENCE).is_some());
    // Written to the last line before the process ends; and of any hundred a quarter, but for two.
    let written = fs::read_to_string(shop.path()).expect("a file").lines().count();
    assert!((23..=27).contains(&written), "{written}");
}

#[test]
fn a_file_that_is_renamed_is_left_and_one_that_comes_back_is_taken() {
    let shop = Shop::open("template: '%REQ(:PATH)%'");
    shop.get("/web/1");
    assert_eq!(shop.lines(1), ["/web/1"]);
    let old = shop.logs.path().join("access.log.1");
    fs::rename(shop.path(), &old).expect("renamed");
    shop.gateway.process.signal_usr1().expect("a signal");
    eventually(PATIENCE, "a new file", || shop.path().exists());
    shop.get("/web/2");
    assert_eq!(shop.lines(1), ["/web/2"]);
    // Nobody says anything.
    fs::rename(shop.path(), &old).expect("renamed");
    shop.get("/web/3");
    assert_eq!(shop.lines(1), ["/web/3"]);
    assert_eq!(wait_for(&old, 1), ["/web/2"]);
    // A folder that goes, and comes back.
    let told = shop.gateway.after(
        || {
            fs::remove_file(shop.path()).expect("removed");
            fs::create_dir(shop.path()).expect("a folder in its place");
            shop.get("/web/4");
        },
        "can't be written",
    );
    assert!(told.contains("access.log can't be written: ") && told.contains("requests go on"), "{told}");
    shop.gateway.after(
        || {
            fs::remove_dir(shop.path()).expect("removed");
            shop.get("/web/5");
        },
        "is written again",
    );
    assert_eq!(shop.lines(1), ["/web/5"]);
    let count =
        |result: &str| shop.gateway.sum("trysail_access_log_lines_total", &[&format!("result=\"{result}\"")]);
    assert_eq!((count("written"), count("failed"), count("dropped")), (4.0, 1.0, 0.0));
    drop(shop.config);
}

#[test]
fn a_full_disk_loses_lines_and_no_request() {
    let shop = Shop::open_at(Folder::new(), Path::new("/dev/full"), "buffer: 4KiB");
    let mut client = shop.gateway.client();
    for _ in 0..300 {
        assert_eq!(client.get("a", "/web", &[]).expect("an answer").status, 200);
    }
    let count =
        |result: &str| shop.gateway.sum("trysail_access_log_lines_total", &[&format!("result=\"{result}\"")]);
    eventually(PATIENCE, "all are counted", || count("failed") + count("dropped") == 300.0);
    assert_eq!(count("written"), 0.0);
    let said =
        shop.gateway.process.lines().into_iter().filter(|line| line.contains("can't be written")).count();
    assert_eq!(said, 1);
}

#[test]
fn the_process_s_own_output_takes_lines() {
    let shop = Shop::open_at(Folder::new(), Path::new("/dev/stdout"), "template: 'line %REQ(:PATH)%'");
    shop.get("/web/out");
    assert!(shop.gateway.process.wait_for_line(|line| line == "line /web/out", PATIENCE).is_some());
}

#[test]
fn without_a_log_its_signal_ends_nothing() {
    let shop = Shop::open_at(Folder::new(), Path::new("/dev/null"), "");
    drop(shop);
    let config = Folder::new();
    config.write("shop.yaml", &shop_of_one());
    let gateway = Gateway::start(config.path());
    gateway.process.signal_usr1().expect("a signal");
    assert_eq!(gateway.client().get("a", "/", &[]).expect("an answer").status, 200);
}

fn shop_of_one() -> String {
    shop(HTTP, "  http:\n  - directResponse: {status: 200}\n")
}

#[test]
fn connections_that_are_passed_on_have_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(b"thanks for all that");
        }
    });
    let config = Folder::new();
    let entry = |name: &str, address: SocketAddr| {
        service(name, address).replace("http, protocol: HTTP", "tcp, protocol: TCP").replace("http:", "tcp:")
    };
    let server = "port: {number: 80, name: tcp, protocol: TCP}";
    let logs = Folder::new();
    let path = logs.path().join("access.log");
    let settings = format!("accessLog: {{path: {}}}\n", path.display());
    for (host, flags, answer, host_told) in
        [("db.test", "-", "thanks for all that", upstream), ("gone.test", "URX,UF", "", refused())]
    {
        let _ = fs::remove_file(&path);
        let rules = format!("  tcp:\n  - route: [{{destination: {{host: {host}}}}}]\n");
        config.write("shop.yaml", &format!("{}{}", shop(server, &rules), entry(host, host_told)));
        let gateway = Gateway::spawn(config.path(), &settings);
        assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
        let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let client = stream.local_addr().expect("an address");
        let _ = stream.write_all(b"hello");
        let _ = stream.shutdown(Shutdown::Write);
        let mut got = String::new();
        let _ = stream.read_to_string(&mut got);
        assert_eq!(got, answer);
        let line = wait_for(&path, 1).remove(0);
        let bytes = if answer.is_empty() { "0 0 " } else { "5 19 " };
        assert!(line.contains(&format!("] \"- - -\" 0 {flags} - - \"-\" {bytes}")), "{line}");
        let cluster = format!("\"{host_told}\" outbound|9080||{host} ");
        assert!(line.contains(&cluster), "{line}");
        assert!(line.ends_with(&format!(" {} {client} - -", gateway.address())), "{line}");
    }
}

#[test]
fn names_that_are_asked_for_in_tls_are_told() {
    let authority = Authority::new("trusted");
    let certificates = Folder::new();
    let pair = authority.issue(&["shop.test"]);
    certificates.write("shop/tls.crt", &pair.certificate);
    certificates.write("shop/tls.key", &pair.key);
    let config = Folder::new();
    let server =
        "port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: shop}";
    let objects = shop(server, "  http:\n  - directResponse: {status: 200}\n").replace("\"*\"", "shop.test");
    config.write("shop.yaml", &objects);
    let logs = Folder::new();
    let path = logs.path().join("access.log");
    let line = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQUESTED_SERVER_NAME%";
    let settings = format!(
        "ports: {{443: 0}}\ncertificates: {}\naccessLog: {{path: {}, template: '{line}'}}\n",
        certificates.path().display(),
        path.display()
    );
    let gateway = Gateway::spawn(config.path(), &settings);
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let address = gateway.logged("listening 443 → ");
    let trust = authority.client(&[], None);
    let mut client = tls::connect(address, "shop.test", &trust).expect("a handshake");
    client.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").expect("sent");
    let _ = client.read_to_end(&mut Vec::new());
    assert_eq!(wait_for(&path, 1), ["200 - direct_response shop.test"]);
    assert!(tls::connect(address, "nobody.test", &trust).is_err());
    assert_eq!(wait_for(&path, 2)[1], "0 NR filter_chain_not_found nobody.test");
}

#[test]
fn what_is_cut_at_the_end_has_a_line() {
    let shop = Shop::open("template: '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%'");
    let mut stream = TcpStream::connect(shop.gateway.address()).expect("the gateway accepts");
    stream.write_all(b"GET /hour HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    // The request has to be there before the end begins: another that is answered came after it.
    assert_eq!(shop.get("/direct"), 403);
    shop.lines(1);
    shop.gateway.process.signal_term().expect("a signal");
    assert!(shop.gateway.process.wait(PATIENCE).is_some());
    assert_eq!(shop.lines(2)[1], "/hour 0 downstream_local_disconnect");
}

#[test]
fn what_can_not_be_set_is_said() {
    let folder = Folder::new();
    folder.write("shop.yaml", &shop_of_one());
    let gateway = Gateway::spawn(folder.path(), "accessLog: {template: '%USERAGENT%'}\n");
    let said = gateway.process.wait_for_line(|line| line.contains("is no operator"), Duration::from_secs(20));
    assert!(said.is_some(), "{}", gateway.process.lines().join("\n"));
}
