//! Faults made on purpose, and how gRPC is told of what the gateway answers.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use trysail_testkit::wait::eventually;

use crate::gateway::{PATIENCE, Reviews};

const RULES: &str = "  - match: [{uri: {exact: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    headers: {response: {set: {x-rule: abort}}}
    corsPolicy: {allowOrigins: [{exact: https://a.test}]}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /grpc}}]
    fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /slow}}]
    fault:
      delay: {fixedDelay: 150ms, percentage: {value: 100}}
      abort: {httpStatus: 503, percentage: {value: 0}}
    timeout: 50ms
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /both}}]
    fault:
      delay: {fixedDelay: 50ms, percentage: {value: 100}}
      abort: {httpStatus: 500, percentage: {value: 100}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /hour}}]
    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
";

#[test]
fn requests_wait_and_are_aborted_as_the_rule_says() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let mut client = gateway.client();
    let grpc = ("content-type", "application/grpc");
    for (path, headers, status, grpc_status, body, at_least) in [
        ("/abort", &[("origin", "https://a.test")][..], 418, None, "fault filter abort", 0),
        ("/abort", &[grpc], 200, Some("2"), "", 0),
        ("/grpc", &[grpc], 200, Some("5"), "", 0),
        ("/grpc", &[], 200, None, "fault filter abort", 0),
        // The delay is not part of the timeout.
        ("/slow", &[], 200, None, "v1", 150),
        ("/both", &[], 500, None, "fault filter abort", 50),
        ("/nowhere", &[grpc], 200, Some("12"), "", 0),
    ] {
        let began = Instant::now();
        let reply = client.get("a", path, headers).expect("an answer");
        assert!(began.elapsed() >= Duration::from_millis(at_least), "{path} after {:?}", began.elapsed());
        assert_eq!(
            (reply.status, reply.header("grpc-status"), reply.text().as_str()),
            (status, grpc_status, body)
        );
        if path == "/abort" {
            assert_eq!(reply.header("x-rule"), Some("abort"), "the rule's fields are on its answers");
            assert_eq!(reply.header("access-control-allow-origin"), None, "faults stand before CORS");
        }
        if grpc_status.is_some() && path != "/nowhere" {
            assert_eq!(reply.header("grpc-message"), Some("fault filter abort"));
        }
    }
    assert_eq!(reviews.origins["v1"].requests(), 1);
    for (flag, code, count) in [("FI", 418, 1.0), ("FI", 200, 3.0), ("DI", 200, 1.0), ("DI,FI", 500, 1.0)] {
        let labels = [format!("response_flags=\"{flag}\""), format!("response_code=\"{code}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        eventually(PATIENCE, flag, || gateway.sum("istio_requests_total", &labels) == count);
    }
}

#[test]
fn a_client_that_leaves_during_a_delay_takes_its_request_along() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.write_all(b"GET /hour HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    drop(stream);
    eventually(PATIENCE, "the request is counted", || {
        gateway.sum("istio_requests_total", &["response_flags=\"DC\"", "response_code=\"0\""]) == 1.0
    });
    assert_eq!(reviews.origins["v1"].requests(), 0);
}
