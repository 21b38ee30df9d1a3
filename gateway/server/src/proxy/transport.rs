//! Why TLS towards an endpoint failed: for who asked in Envoy's form, and in the log in words, with what to do about it.
//!
//! Pingora keeps of a failed handshake only what rustls says of it, as text; so that is what is read here. Clients are
//! told the kind alone: which names a certificate has is not theirs to know.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::Mutex;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType};
use trysail_routing::snapshot::ClusterKey;

use crate::render;

/// What failed, where TLS is what failed.
#[derive(Debug, PartialEq, Eq)]
struct Reason {
    /// For the client.
    kind: &'static str,
    /// For people who may read the log.
    words: String,
    advice: &'static str,
}

/// Says why TLS fails, of each cluster at most once in a while.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<HashMap<ClusterKey, Instant>>);

/// How long nothing more is said of a cluster.
const SILENCE: Duration = Duration::from_secs(60);

impl Complaints {
    /// What a failure of TLS is to the client: Envoy's `transport failure reason`. `None` for any other failure.
    pub(crate) fn hear(&self, peer: &HttpPeer, error: &Error, cluster: &ClusterKey) -> Option<String> {
        if !peer.is_tls() {
            return None;
        }
        let Reason { kind, words, advice } = reason(error)?;
        if self.is_new(cluster, Instant::now()) {
            let (cluster, address) = (render::cluster(cluster), peer.address());
            warn!("TLS towards {address} ({cluster}) failed: {words}; {advice}");
        }
        Some(format!("TLS_error:|{kind}:TLS_error_end"))
    }

    fn is_new(&self, cluster: &ClusterKey, now: Instant) -> bool {
        let mut said = self.0.lock();
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < SILENCE;
        if said.get(cluster).is_some_and(fresh) {
            return false;
        }
        // Clusters come and go.
        said.retain(|_, at| fresh(at));
        said.insert(cluster.clone(), now);
        true
    }
}

/// `None` where it was not TLS that failed. A server of TLS 1.3 refuses a client only once that takes itself for connected.
fn reason(error: &Error) -> Option<Reason> {
    let text = error.to_string();
    if let Some((_, alert)) = text.split_once("received fatal alert: ") {
        return Some(refused(alert.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(alert)));
    }
    match error.etype {
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => Some(of(said(&text))),
        _ => None,
    }
}

/// What rustls said: the innermost cause of the handshake's failure, without what Pingora writes around it.
fn said(text: &str) -> &str {
    let handshake = text.split_once("TLS connect() failed: ").map_or(text, |(_, said)| said);
    let handshake = handshake.split_once(", SNI: ").map_or(handshake, |(said, _)| said);
    handshake.rsplit("cause: ").next().unwrap_or(handshake).trim()
}

/// The endpoint's word for it is an alert's name.
fn refused(alert: &str) -> Reason {
    Reason {
        kind: "refused by the endpoint",
        words: format!("the endpoint refused it: {alert}"),
        advice: "where it asks for a certificate, write mode MUTUAL and one that it trusts; the endpoint's log says more",
    }
}

fn of(said: &str) -> Reason {
    let reason = |kind, words: String, advice| Reason { kind, words, advice };
    if let Some(why) = said.strip_prefix("invalid peer certificate: ") {
        return certificate(why);
    }
    if said.starts_with("received corrupt message") {
        let words = "what it answers is not TLS".to_owned();
        return reason("not TLS", words, "mend the port, or write tls.mode DISABLE in the DestinationRule");
    }
    if said.contains("eof") || said.contains("reset") {
        let words = "the endpoint closed the connection amid the handshake".to_owned();
        return reason(
            "connection closed",
            words,
            "it may not speak TLS at all: mend the port, or write tls.mode DISABLE; its log says more",
        );
    }
    let words = said.to_owned();
    reason("handshake failed", words, "compare what both sides speak: TLS 1.2 and 1.3 are spoken here")
}

/// rustls's words for a certificate that does not do.
fn certificate(why: &str) -> Reason {
    let reason = |kind, words: String, advice| Reason { kind, words, advice };
    if why == "UnknownIssuer" {
        return reason(
            "CERTIFICATE_VERIFY_FAILED: unknown issuer",
            "its certificate is not trusted: no authority that is has issued it".to_owned(),
            "write the authority's file in tls.caCertificates of the DestinationRule; without it the system's are trusted",
        );
    }
    if let Some(names) = why.strip_prefix("certificate not valid for name ") {
        let (wanted, has) = names.split_once("; certificate ").unwrap_or((names, "has others"));
        return reason(
            "CERTIFICATE_VERIFY_FAILED: name mismatch",
            format!("its certificate is not for the name {wanted}: it {has}"),
            "write a name that it has in tls.sni and tls.subjectAltNames of the DestinationRule; without them the request's host is wanted",
        );
    }
    let dated = why.starts_with("certificate expired") || why.starts_with("certificate not valid yet");
    if dated || matches!(why, "Expired" | "NotValidYet") {
        return reason(
            "CERTIFICATE_VERIFY_FAILED: out of its time",
            format!("its certificate is out of its time: {why}"),
            "renew it at the endpoint, or set the clock",
        );
    }
    if why.contains("UnsupportedCertVersion") {
        return reason(
            "CERTIFICATE_VERIFY_FAILED: X.509 version",
            "its certificate is not of X.509 version 3".to_owned(),
            "have one of version 3 issued, with its names in subjectAltName",
        );
    }
    reason("CERTIFICATE_VERIFY_FAILED", format!("its certificate does not do: {why}"), "have another issued")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, CertificateError, InvalidMessage};

    use super::*;

    fn pingoras(error: &rustls::Error) -> Box<Error> {
        let inner = Error::because(ErrorType::TLSHandshakeFailure, "tls connect error", error.to_string());
        let context = format!("TLS connect() failed: {inner}, SNI: a.test");
        Error::explain(ErrorType::TLSHandshakeFailure, context).more_context("Peer: cause: none, SNI: none")
    }

    #[test]
    fn rustls_words_are_understood() {
        let name = ServerName::try_from("a.test").unwrap();
        let named = CertificateError::NotValidForNameContext {
            expected: name,
            presented: vec!["DnsName(\"b.test\")".to_owned()],
        };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: at(9), not_after: at(3) };
        let version = CertificateError::Other(rustls::OtherError(Arc::new(std::fmt::Error)));
        let invalid = rustls::Error::InvalidCertificate;
        for (error, kind, words) in [
            (invalid(CertificateError::UnknownIssuer), "unknown issuer", "not trusted"),
            (
                invalid(named),
                "name mismatch",
                "not for the name \"a.test\": it is only valid for DnsName(\"b.test\")",
            ),
            (invalid(expired), "out of its time", "not valid after 3 (6 seconds ago)"),
            (invalid(version), "CERTIFICATE_VERIFY_FAILED", "does not do"),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "not TLS", "not TLS"),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "refused",
                "CertificateRequired",
            ),
            (rustls::Error::DecryptError, "handshake failed", "cannot decrypt"),
        ] {
            let reason = reason(&pingoras(&error)).unwrap();
            assert!(reason.kind.contains(kind) && reason.words.contains(words), "{error}: {reason:?}");
            assert!(!reason.words.contains("SNI"), "{reason:?}");
        }
        assert_eq!(reason(&Error::new(ErrorType::ConnectRefused)), None);
    }

    #[test]
    fn a_cluster_is_complained_of_once_a_minute() {
        let complaints = Complaints::default();
        let key = |port| ClusterKey { host: "a".into(), subset: "".into(), port };
        let begin = Instant::now();
        for (port, seconds, new) in
            [(1, 0, true), (1, 59, false), (2, 59, true), (1, 60, true), (1, 61, false)]
        {
            assert_eq!(
                complaints.is_new(&key(port), begin + Duration::from_secs(seconds)),
                new,
                "{port} {seconds}"
            );
        }
    }
}
