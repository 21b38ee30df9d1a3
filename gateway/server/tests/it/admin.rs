//! The admin port: what it tells, and whom.

use trysail_testkit::client::Client;

use crate::gateway::{Gateway, Reviews};

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
