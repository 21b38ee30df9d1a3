//! `cipherSuites` of a server: those that Istio knows, and of them those that are spoken.

use super::super::values::warn;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::{CIPHER_SUITES, TlsVersion};
use crate::wire::sink::Sink;

/// Istio ignores suites that it does not know, or knows already, with a warning, whatever the server's mode.
pub(super) fn known<'w>(written: &'w [At<String>], sink: &mut Sink<'_>) -> Vec<&'w At<String>> {
    let mut known: Vec<&At<String>> = Vec::new();
    for suite in written {
        // Expressions (`-ALL`, `+HIGH`) are OpenSSL's, and not looked into.
        let expression =
            suite.is_empty() || suite.value == "ALL" || !suite.starts_with(char::is_alphanumeric);
        if !expression && !SUITES.contains(&suite.as_str()) {
            let message = format!("{:?} is not a cipher suite that is known, and is ignored", suite.value);
            warn(message, suite.pos, sink);
        } else if known.iter().any(|other| other.value == suite.value) {
            warn(format!("{:?} is there twice", suite.value), suite.pos, sink);
        } else {
            known.push(suite);
        }
    }
    known
}

/// Suites that can't be spoken are left out, as Istio leaves out those that it does not know; `None` where none is
/// left of those that are written. They are of TLS 1.2 only: those of 1.3 are not chosen by configuration, in Envoy
/// as here.
pub(super) fn spoken(
    written: &[At<String>],
    known: &[&At<String>],
    least: TlsVersion,
    sink: &mut Sink<'_>,
) -> Option<Vec<&'static str>> {
    let mut suites = Vec::new();
    for suite in known {
        match CIPHER_SUITES.iter().find(|spoken| **spoken == suite.value) {
            Some(spoken) => suites.push(*spoken),
            None => {
                let message = format!("the cipher suite {:?} is not spoken; it is left out", suite.value);
                sink.add(Severity::Warning, Code::UNSUPPORTED_FIELD, suite.pos, message)
                    .hints
                    .push(format!("for TLS 1.2 there are {}", CIPHER_SUITES.join(", ")));
            }
        }
    }
    if let (true, TlsVersion::V1_2, Some(first)) = (suites.is_empty(), least, written.first()) {
        let message = "none of the cipher suites can be spoken".to_owned();
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, first.pos.back(1), message);
        return None;
    }
    Some(suites)
}

/// The suites of TLS 1.2 and below that Istio knows.
const SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];
