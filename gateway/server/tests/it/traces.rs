//! Traces: whose call an upstream is told that it is, and what a collector hears (with the cargo feature `otlp`).

use trysail_testkit::origin::{Answer, Origin};

use crate::access_log::service;
use crate::gateway::{Gateway, HTTP, PATIENCE, shop};
use trysail_testkit::folder::Folder;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const RULES: &str = "  http:
  - name: again
    match: [{uri: {exact: /again}}]
    retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: web.test}}]
  - route: [{destination: {host: web.test, subset: v1}}]
";

struct Shop {
    web: Origin,
    gateway: Gateway,
    _config: Folder,
}

impl Shop {
    fn open(settings: &str) -> Shop {
        let web = Origin::start(Answer::version("v1"));
        let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec:\n  host: web.test\n  \
             subsets: [{name: v1}]\n";
        let config = Folder::new();
        config.write("shop.yaml", &format!("{}{}{rule}", shop(HTTP, RULES), service("web.test", web.addr())));
        let gateway = Gateway::spawn(config.path(), settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        Shop { web, gateway, _config: config }
    }

    /// Asks, and gives the values of a field that the upstream got, of all tries.
    fn told(&self, path: &str, headers: &[(&str, &str)], field: &str) -> Vec<Option<String>> {
        let before = self.web.received().len();
        self.gateway.client().get("shop.test", path, headers).expect("an answer");
        let heads =
            self.web.received().split_off(before).into_iter().map(|received| received.head.to_lowercase());
        let value = |head: String| {
            let prefix = format!("{field}: ");
            head.lines().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        };
        heads.map(value).collect()
    }
}

#[test]
fn without_tracing_a_context_passes_untouched() {
    let shop = Shop::open("");
    assert_eq!(shop.told("/", &[("traceparent", PARENT)], "traceparent"), [Some(PARENT.to_owned())]);
    assert_eq!(shop.told("/", &[("traceparent", "what")], "traceparent"), [Some("what".to_owned())]);
    assert_eq!(shop.told("/", &[("tracestate", "a=b")], "tracestate"), [Some("a=b".to_owned())]);
    assert_eq!(shop.told("/", &[], "traceparent"), [None]);
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_build_without_tracing_says_how_to_have_it() {
    let folder = Folder::new();
    folder.write("shop.yaml", &shop(HTTP, "  http:\n  - directResponse: {status: 200}\n"));
    let gateway = Gateway::spawn(folder.path(), "tracing: {endpoint: 'http://127.0.0.1:4318'}\n");
    let said = gateway.process.wait_for_line(|line| line.contains("--features otlp"), PATIENCE);
    assert!(said.is_some(), "{}", gateway.process.lines().join("\n"));
}

#[cfg(feature = "otlp")]
mod recorded {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use serde_json::Value;
    use trysail_testkit::raw::refused;
    use trysail_testkit::wait::eventually;

    use super::*;

    /// A collector: it takes what is posted to it, and remembers it.
    struct Collector(Origin);

    impl Collector {
        fn start() -> Collector {
            Collector(Origin::start(Answer::version("collector").body("{}")))
        }

        fn settings(at: SocketAddr, more: &str) -> String {
            format!("tracing: {{endpoint: 'http://{at}', {more}}}\n")
        }

        fn spans(&self) -> Vec<Told> {
            let read = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).expect("JSON") };
            let of =
                |message: Value| message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
            let messages = self.0.received().into_iter().map(|received| read(received.body));
            messages.filter_map(of).flatten().map(|span| Told::of(&span)).collect()
        }

        /// Waits until there are so many spans, and gives them.
        fn wait(&self, count: usize) -> Vec<Told> {
            eventually(PATIENCE, &format!("{count} spans"), || self.spans().len() >= count);
            let spans = self.spans();
            assert_eq!(spans.len(), count, "{spans:#?}");
            spans
        }
    }

    /// A span as a collector was told of it.
    #[derive(Debug)]
    struct Told {
        trace: String,
        id: String,
        parent: Option<String>,
        kind: u64,
        name: String,
        failed: bool,
        times: (u64, u64),
        attributes: BTreeMap<String, String>,
    }

    impl Told {
        fn of(span: &Value) -> Told {
            let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
            let time = |key: &str| text(key).parse().expect("a number");
            let attribute = |pair: &Value| {
                let value = &pair["value"];
                let value = value["stringValue"].as_str().or_else(|| value["intValue"].as_str());
                (pair["key"].as_str().expect("a key").to_owned(), value.expect("a value").to_owned())
            };
            Told {
                trace: text("traceId"),
                id: text("spanId"),
                parent: span["parentSpanId"].as_str().map(str::to_owned),
                kind: span["kind"].as_u64().expect("a kind"),
                name: text("name"),
                failed: span["status"]["code"] == 2,
                times: (time("startTimeUnixNano"), time("endTimeUnixNano")),
                attributes: span["attributes"].as_array().into_iter().flatten().map(attribute).collect(),
            }
        }

        fn is(&self, key: &str) -> &str {
            self.attributes.get(key).map_or("", String::as_str)
        }
    }

    #[test]
    fn each_try_is_a_span_within_its_request_s() {
        let collector = Collector::start();
        let shop = Shop::open(&Collector::settings(collector.0.addr(), "serviceName: edge"));
        shop.web.set_answer(Answer::version("v1").status(503));
        let headers = [("traceparent", PARENT), ("tracestate", "a=b"), ("user-agent", "curl")];
        let told = shop.told("/again", &headers, "traceparent");
        assert_eq!(told.len(), 3, "{told:?}");
        let spans = collector.wait(4);
        let message = String::from_utf8(collector.0.received()[0].body.clone()).expect("text");
        assert!(message.contains(r#""key":"service.name","value":{"stringValue":"edge"}"#), "{message}");
        assert!(collector.0.received()[0].head.starts_with("POST /v1/traces HTTP/1.1\n"));

        let request = spans.iter().find(|span| span.kind == 2).expect("a span of the request");
        assert_eq!(request.parent.as_deref(), Some("b7ad6b7169203331"));
        assert_eq!((request.name.as_str(), request.failed), ("GET default/shop again", true));
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/again"),
            ("url.scheme", "http"),
            ("http.response.status_code", "503"),
            ("server.address", "shop.test"),
            ("client.address", "127.0.0.1"),
            ("user_agent.original", "curl"),
            ("network.protocol.version", "1.1"),
            ("trysail.route", "default/shop again"),
            ("trysail.attempts", "3"),
            ("trysail.response_flags", "URX"),
        ] {
            assert_eq!(request.is(key), value, "{key}: {request:#?}");
        }
        assert_eq!((request.is("trysail.revision").len(), request.is("guid:x-request-id").len()), (8, 36));

        let tries: Vec<&Told> = spans.iter().filter(|span| span.kind == 3).collect();
        let mut before = request.times.0;
        for (nth, one) in tries.iter().enumerate() {
            assert_eq!(one.parent.as_ref(), Some(&request.id), "{one:#?}");
            assert_eq!(one.is("trysail.attempt"), (nth + 1).to_string());
            assert_eq!((one.is("http.response.status_code"), one.failed), ("503", true));
            assert_eq!(one.is("server.port"), shop.web.addr().port().to_string());
            // What its upstream was told is this very span.
            let context = format!("00-{}-{}-01", one.trace, one.id);
            assert_eq!(told[nth].as_ref(), Some(&context), "{one:#?}");
            assert!(
                before <= one.times.0 && one.times.0 <= one.times.1 && one.times.1 <= request.times.1,
                "{spans:#?}"
            );
            before = one.times.1;
        }
        assert!(spans.iter().all(|span| span.trace == "0af7651916cd43dd8448eb211c80319c"));
        let mut ids: Vec<&String> = spans.iter().map(|span| &span.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        eventually(PATIENCE, "all are counted", || {
            shop.gateway.sum("trysail_spans_total", &["result=\"sent\""]) == 4.0
        });
    }

    #[test]
    fn who_brings_no_trace_begins_one_and_who_is_not_recorded_stays_so() {
        let collector = Collector::start();
        let shop = Shop::open(&Collector::settings(collector.0.addr(), "sample: 100%"));
        let told = shop.told("/", &[("tracestate", "a=b")], "traceparent").remove(0).expect("a context");
        assert!(told.starts_with("00-") && told.ends_with("-01") && told.len() == 55, "{told}");
        let state = shop.told("/", &[("tracestate", "a=b"), ("traceparent", "what")], "tracestate");
        assert_eq!(state, [None], "what is of no trace goes");
        let state = shop.told("/", &[("tracestate", "a=b"), ("traceparent", PARENT)], "tracestate");
        assert_eq!(state, [Some("a=b".to_owned())]);
        let quiet = PARENT.replace("-01", "-00");
        assert_eq!(shop.told("/", &[("traceparent", &quiet)], "traceparent"), [Some(quiet.clone())]);
        let spans = collector.wait(6);
        let first: Vec<&Told> = spans.iter().filter(|span| told.contains(&span.trace)).collect();
        assert!(first.iter().any(|span| span.kind == 2 && span.parent.is_none()), "{first:#?}");
        assert!(first.iter().any(|span| span.kind == 3 && told.contains(&span.id)), "{first:#?}");
        assert!(first.iter().all(|span| span.is("trysail.subset") == "v1" && !span.failed), "{first:#?}");

        let collector = Collector::start();
        let shop = Shop::open(&Collector::settings(collector.0.addr(), "sample: 0%"));
        let told = shop.told("/", &[], "traceparent").remove(0).expect("a context");
        assert!(told.ends_with("-00"), "{told}");
        // A request that is over is told of at the latest when the process ends.
        shop.gateway.process.signal_term().expect("a signal");
        assert!(shop.gateway.process.wait(PATIENCE).is_some());
        assert_eq!(collector.0.requests(), 0);
    }

    #[test]
    fn a_collector_that_is_not_there_costs_spans_and_no_request() {
        let at = refused();
        let shop = Shop::open(&Collector::settings(at, "sample: 100%"));
        let told = shop.gateway.after(
            || {
                for _ in 0..20 {
                    assert_eq!(shop.gateway.client().get("a", "/", &[]).expect("an answer").status, 200);
                }
            },
            "takes no spans",
        );
        assert!(
            told.contains(&format!("http://{at}/v1/traces takes no spans: connection refused")),
            "{told}"
        );
        let failed = || shop.gateway.sum("trysail_spans_total", &["result=\"failed\""]);
        eventually(PATIENCE, "all are counted", || failed() == 40.0);
        let collector =
            Origin::start_at(at, Answer::version("collector").body("{}")).expect("the port is free");
        shop.gateway.after(
            || drop(shop.gateway.client().get("a", "/", &[])),
            "takes spans again; spans that were lost: 40",
        );
        assert_eq!(collector.requests(), 1);
    }

    #[test]
    fn what_waits_is_sent_before_the_end() {
        let collector = Collector::start();
        let shop = Shop::open(&Collector::settings(collector.0.addr(), "sample: 100%"));
        shop.gateway.client().get("a", "/", &[]).expect("an answer");
        shop.gateway.process.signal_term().expect("a signal");
        assert!(shop.gateway.process.wait(PATIENCE).is_some());
        assert_eq!(collector.spans().len(), 2, "{}", shop.gateway.process.lines().join("\n"));
    }
}
