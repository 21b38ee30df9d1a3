//! Accounts and their text: what is counted is told once by each reporter, and in little memory.

use std::collections::BTreeMap;

use super::super::{Ended, Flag, Grpc};
use super::*;

fn traffic() -> Traffic {
    let both = [Reporter::Source, Reporter::Destination];
    Traffic::new(Source::new(&BTreeMap::new(), "default", &both))
}

fn text(traffic: &Traffic) -> String {
    let (mut scrape, mut text) = (traffic.scrape(Instant::now()), Vec::new());
    while scrape.next(&mut text) {}
    String::from_utf8(text).unwrap()
}

#[test]
fn every_status_and_flag_is_counted_once() {
    let traffic = traffic();
    let handles = traffic.bind(&Snapshot::default(), Instant::now());
    let account = handles.of(None, None);
    for status in [200, 200, 418, 0, 999] {
        account.count(&Ended::at_once(status, Flag::None));
    }
    account.count(&Ended::at_once(200, Flag::UpstreamTimeout));
    for grpc in [Grpc::Status(0), Grpc::Status(16), Grpc::Unknown] {
        account.count(&Ended { grpc, ..Ended::at_once(200, Flag::None) });
    }
    let text = text(&traffic);
    for (protocol, code, grpc, flags, count) in [
        ("http", 200, "", "-", 2),
        ("http", 418, "", "-", 1),
        ("http", 0, "", "-", 1),
        ("http", 999, "", "-", 1),
        ("http", 200, "", "UT", 1),
        ("grpc", 200, "0", "-", 1),
        ("grpc", 200, "16", "-", 1),
        ("grpc", 200, "", "-", 1),
    ] {
        let labels = format!(
            "request_protocol=\"{protocol}\",response_code=\"{code}\",grpc_response_status=\"{grpc}\",response_flags=\"{flags}\","
        );
        for name in ["istio_requests_total{", "istio_request_bytes_count{"] {
            let found = text.lines().filter(|line| line.starts_with(name) && line.contains(&labels));
            let values: Vec<&str> = found.filter_map(|line| line.rsplit_once(' ')).map(|it| it.1).collect();
            assert_eq!(values, [count.to_string(), count.to_string()], "{name} {labels}");
        }
    }
    assert_eq!(handles.nowhere.requests().len(), 8);
}

#[test]
fn series_outlive_reloads_and_end_after_a_grace() {
    let traffic = traffic();
    let start = Instant::now();
    let first = traffic.bind(&Snapshot::default(), start);
    first.of(None, None).count(&Ended::at_once(404, Flag::NoRoute));
    let second = traffic.bind(&Snapshot::default(), start);
    assert!(std::ptr::eq(first.of(None, None), second.of(None, None)));

    let gone = Key { host: "a".into(), namespace: "b".into(), workload: traffic.book.nobody.clone() };
    let series = Series { account: Arc::new(Account::new(gone.clone())), gone: None };
    traffic.book.series.lock().insert(gone.clone(), series);
    traffic.bind(&Snapshot::default(), start);
    assert!(traffic.book.series.lock().contains_key(&gone));
    traffic.bind(&Snapshot::default(), start + GRACE);
    assert!(!traffic.book.series.lock().contains_key(&gone));
}

#[test]
fn what_is_not_known_is_one_series_whoever_does_not_say_it() {
    let traffic = traffic();
    let empty = Arc::new(Workload {
        name: "".into(),
        namespace: "".into(),
        app: "".into(),
        version: "".into(),
        canonical_service: "".into(),
        canonical_revision: "".into(),
    });
    assert_eq!(traffic.book.key(None, Some(&empty)), traffic.book.key(None, None));
}

#[test]
fn labels_are_escaped_and_both_reporters_tell() {
    let traffic = traffic();
    let mut workload = (*traffic.book.nobody).clone();
    workload.app = "a\"b\\c\nd".into();
    let service =
        Arc::new(Service { host: "reviews.shop.svc.cluster.local".into(), namespace: "shop".into() });
    let key = traffic.book.key(Some(&service), Some(&Arc::new(workload)));
    let account = Arc::new(Account::new(key.clone()));
    account.messages(3, 0);
    account.streams(Flag::None).open().sent(7);
    traffic.book.series.lock().insert(key, Series { account, gone: None });
    let text = text(&traffic);
    assert!(text.contains("destination_app=\"a\\\"b\\\\c\\nd\","), "{text}");
    assert!(text.contains("destination_service_name=\"reviews\","));
    for (name, security, value) in [
        ("istio_request_messages_total{", "", "3"),
        ("istio_tcp_connections_opened_total{", "none", "1"),
        ("istio_tcp_connections_closed_total{", "none", "1"),
        ("istio_tcp_sent_bytes_total{", "none", "7"),
        ("istio_tcp_received_bytes_total{", "none", "0"),
    ] {
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(told.len(), 2, "{name}");
        assert!(told[0].contains("reporter=\"source\"") && told[1].contains("reporter=\"destination\""));
        assert!(told[1].ends_with(&format!(" {value}")), "{told:?}");
        let policy = format!("connection_security_policy=\"{security}\"");
        assert_eq!(told[1].contains("connection_security_policy"), !security.is_empty());
        assert!(security.is_empty() || told[1].contains(&policy));
    }
    assert!(!text.contains("istio_response_messages_total"), "of what never was, nothing is said");
}

#[test]
#[ignore = "writes 2 GB of text; its times mean something in a release build only"]
fn ten_thousand_workloads_are_told_in_little_memory() {
    use std::io::Write as _;

    let traffic = traffic();
    let memory = |name: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    for (route, version) in (0..5000).flat_map(|route| [(route, "v1"), (route, "v2")]) {
        let app: Arc<str> = format!("service-{route:04}").into();
        let workload = Workload {
            name: format!("{app}-{version}").into(),
            namespace: "default".into(),
            app: app.clone(),
            version: version.into(),
            canonical_service: app.clone(),
            canonical_revision: version.into(),
        };
        let host = format!("{app}.default.svc.cluster.local").into();
        let service = Arc::new(Service { host, namespace: "default".into() });
        let key = traffic.book.key(Some(&service), Some(&Arc::new(workload)));
        let account = Arc::new(Account::new(key.clone()));
        account.count(&Ended::at_once(200, Flag::None));
        traffic.book.series.lock().insert(key, Series { account, gone: None });
    }
    let before = memory("VmRSS:");
    for packs in [false, true] {
        let began = Instant::now();
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let (mut scrape, mut page, mut lines, mut sent) = (traffic.scrape(Instant::now()), Vec::new(), 0, 0);
        loop {
            while page.len() < 64 * 1024 && scrape.next(&mut page) {}
            if page.is_empty() {
                break;
            }
            lines += page.iter().filter(|byte| **byte == b'\n').count();
            if packs {
                packer.write_all(&page).unwrap();
                sent += std::mem::take(packer.get_mut()).len();
            } else {
                sent += page.len();
            }
            page.clear();
        }
        // Two lines before each family; one of requests, three histograms of 22.
        assert_eq!(lines, 4 * 2 + 10_000 * 2 * (1 + 3 * 22));
        eprintln!("packed: {packs}, {sent} bytes, {} ms", began.elapsed().as_millis());
    }
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown < 4096, "grew by {grown} KiB");
}
