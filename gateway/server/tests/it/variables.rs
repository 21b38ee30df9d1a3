//! Envoy's variables in the values of fields, and bodies that are bytes.

use crate::gateway::Reviews;

const RULES: &str = "  - name: canary
    match: [{uri: {exact: /fields}}]
    rewrite: {uri: /new}
    headers:
      request:
        set:
          x-client: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'
          x-route: '%ROUTE_NAME% 100%%'
          x-path: '%REQ(:PATH)%'
          x-first: '%REQ(x-none?x-a):3%'
          x-kept: '%REQ(x-none)%'
        add: {x-a: '%REQ(x-a)%!'}
        remove: [x-gone]
      response: {set: {x-code: '%RESPONSE_CODE% %RESP(x-version)% %PROTOCOL%'}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /bytes}}]
    headers: {response: {set: {content-type: image/gif, x-code: '%RESPONSE_CODE%'}}}
    directResponse: {status: 202, body: {bytes: AP8B}}
  - match: [{uri: {exact: /empty}}]
    headers: {response: {set: {content-type: image/gif}}}
    directResponse: {status: 200}
";

#[test]
fn values_are_filled_in_on_both_ways() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let mut client = gateway.client();
    let asked = [("x-a", "abcdef"), ("x-kept", "mine"), ("x-gone", "1")];
    let reply = client.get("shop.test", "/fields?q=1", &asked).expect("an answer");
    assert_eq!(reply.header("x-code"), Some("200 v1 HTTP/1.1"));
    let head = reviews.origins["v1"].last_request().expect("a request");
    for line in [
        "x-client: 127.0.0.1",
        "x-route: canary 100%",
        "x-path: /fields?q=1",
        "x-first: abc",
        "x-kept: mine",
        "x-a: abcdef",
        "x-a: abcdef!",
        "x-envoy-attempt-count: 1",
    ] {
        assert!(head.lines().any(|is| is == line), "{line}\n{head}");
    }
    assert!(!head.contains("x-gone") && !head.contains("expected-rq-timeout"), "{head}");

    let reply = client.get("shop.test", "/bytes", &[]).expect("an answer");
    assert_eq!((reply.status, reply.body.as_slice()), (202, &[0, 255, 1][..]));
    assert_eq!((reply.header("content-type"), reply.header("x-code")), (Some("image/gif"), Some("202")));
    let reply = client.get("shop.test", "/empty", &[]).expect("an answer");
    assert_eq!((reply.status, reply.header("content-type")), (200, None));
}
