//! Settings of whom the process believes, and who may ask it.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use trysail_routing::diagnostic::{Code, Diagnostic, Severity};

use super::{Cidr, Settings};

/// Connections that begin with a header of the PROXY protocol, which says whose they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ProxyProtocol {
    /// Who sends it; nobody else is believed. Empty switches it off.
    pub(crate) from: Vec<Cidr>,
    /// On which of the Gateways' ports; empty for all.
    pub(crate) ports: Vec<u16>,
    /// Whether those may also send none.
    pub(crate) optional: bool,
}

/// Whose fields say who a request is from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    hops: u8,
    networks: Vec<Cidr>,
}

/// What an HTTPS client is told that asks for a host of another server (Envoy and Istio: 404).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub(crate) enum OtherServer {
    /// 404, as for a host that is nowhere.
    #[default]
    #[serde(rename = "404")]
    NotFound,
    /// 421, so that it comes back on a connection of its own.
    #[serde(rename = "421")]
    Misdirected,
}

/// What callers of the admin port have to show; never printed.
#[derive(Clone)]
pub(crate) struct Token(Box<[u8]>);

/// A token is at least so long: shorter ones can be guessed.
const SHORTEST: usize = 16;

/// And at most so long, so that the wrong file is not read whole.
const LONGEST: u64 = 4096;

impl ProxyProtocol {
    /// Whether connections from an address to a Gateway's port begin with a header.
    pub(crate) fn is_spoken(&self, port: u16, from: Option<IpAddr>) -> bool {
        !self.from.is_empty()
            && (self.ports.is_empty() || self.ports.contains(&port))
            && from.is_some_and(|from| self.from.iter().any(|range| range.contains(from)))
    }
}

impl Trust {
    /// This many proxies, counted from the gateway outwards, whose connections come from these networks; none for
    /// any.
    pub(crate) fn new(hops: u8, networks: Vec<Cidr>) -> Self {
        Trust { hops, networks }
    }

    /// How many proxies are believed on a connection from an address.
    pub(crate) fn hops(&self, from: Option<IpAddr>) -> u8 {
        let near = || from.is_some_and(|from| self.networks.iter().any(|range| range.contains(from)));
        if self.hops > 0 && (self.networks.is_empty() || near()) { self.hops } else { 0 }
    }
}

impl Token {
    /// Reads one from a file; white space around it does not count. The error says what is wrong, and nothing of what
    /// the file says.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let facts = fs::metadata(path).map_err(|error| format!("{name} can't be read: {error}"))?;
        if !facts.is_file() || facts.len() > LONGEST {
            return Err(format!("{name} is no file of at most {LONGEST} bytes"));
        }
        let text = fs::read(path).map_err(|error| format!("{name} can't be read: {error}"))?;
        let text = text.trim_ascii();
        if text.len() < SHORTEST || !text.iter().all(u8::is_ascii_graphic) {
            return Err(format!(
                "{name} holds no token: at least {SHORTEST} letters, digits or signs, in one word"
            ));
        }
        Ok(Token(text.into()))
    }

    /// This one.
    #[cfg(test)]
    pub(crate) fn new(text: &str) -> Self {
        Token(text.as_bytes().into())
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Settings {
    /// Whose fields say who a request is from.
    pub(crate) fn trust(&self) -> Trust {
        Trust::new(self.trusted_hops, self.trusted_networks.clone())
    }

    /// What callers of the admin port have to show. An address that others reach has to have a token.
    pub(crate) fn token(&self) -> Result<Option<Token>, Box<Diagnostic>> {
        let fault = |code, message| Box::new(Diagnostic::new(code, Severity::Error, None, message));
        match &self.admin_token {
            Some(path) => Token::read(path).map(Some).map_err(|message| {
                fault(Code::UNREADABLE, format!("the token of the admin port can't be used: {message}"))
            }),
            None if self.admin.ip().to_canonical().is_loopback() => Ok(None),
            None => {
                let message = format!("the admin port on {} could be asked by anyone", self.admin);
                Err(Box::new(fault(Code::SCHEMA_VALIDATION, message).hint(
                    "put \"admin\" on loopback, or give the setting \"adminToken\" a file with a secret",
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_believed_from_their_networks() {
        let near = || vec!["10.0.0.0/8".parse().unwrap()];
        for (hops, networks, from, believed) in [
            (0, vec![], Some("10.0.0.1"), 0),
            (0, near(), Some("10.0.0.1"), 0),
            (2, vec![], Some("192.0.2.1"), 2),
            (2, vec![], None, 2),
            (2, near(), Some("10.0.0.1"), 2),
            (2, near(), Some("::ffff:10.0.0.1"), 2),
            (2, near(), Some("192.0.2.1"), 0),
            (2, near(), None, 0),
        ] {
            let trust = Trust::new(hops, networks);
            assert_eq!(trust.hops(from.map(|from| from.parse().unwrap())), believed, "{trust:?} {from:?}");
        }
    }

    #[test]
    fn the_proxy_protocol_is_spoken_by_some_on_some_ports() {
        let of = |from: &[&str], ports: &[u16]| ProxyProtocol {
            from: from.iter().map(|range| range.parse().unwrap()).collect(),
            ports: ports.to_vec(),
            optional: false,
        };
        for (from, ports, port, who, spoken) in [
            (&[][..], &[][..], 80, Some("10.0.0.1"), false),
            (&["10.0.0.0/8"], &[], 80, Some("10.0.0.1"), true),
            (&["10.0.0.0/8"], &[], 80, Some("11.0.0.1"), false),
            (&["10.0.0.0/8"], &[], 80, None, false),
            (&["11.0.0.0/8", "10.0.0.0/8"], &[443], 443, Some("10.0.0.1"), true),
            (&["10.0.0.0/8"], &[443], 80, Some("10.0.0.1"), false),
        ] {
            let setting = of(from, ports);
            assert_eq!(
                setting.is_spoken(port, who.map(|who| who.parse().unwrap())),
                spoken,
                "{setting:?} {who:?}"
            );
        }
    }

    #[test]
    fn tokens_are_words_that_can_not_be_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, token) in [
            ("0123456789abcdef", Some("0123456789abcdef")),
            ("\n 0123456789abcdef!\n", Some("0123456789abcdef!")),
            ("0123456789abcde", None),
            ("", None),
            ("0123456789 abcdef", None),
            ("0123456789abcdéf", None),
        ] {
            fs::write(&path, text).unwrap();
            let read = Token::read(&path);
            assert_eq!(read.as_ref().ok().map(Token::bytes), token.map(str::as_bytes), "{text:?}");
            // A fault tells nothing of what the file says.
            assert!(read.err().is_none_or(|fault| !fault.contains("0123456789")), "{text:?}");
        }
        assert!(Token::read(folder.path()).is_err());
        assert!(Token::read(&folder.path().join("nothing")).is_err());
    }

    #[test]
    fn an_admin_port_that_others_reach_has_a_token() {
        for (address, refused) in [
            ("127.0.0.1:15000", false),
            ("127.8.0.1:15000", false),
            ("[::1]:0", false),
            ("[::ffff:127.0.0.1]:0", false),
            ("0.0.0.0:15000", true),
            ("[::]:15000", true),
            ("10.0.0.7:15000", true),
        ] {
            let settings = Settings { admin: address.parse().unwrap(), ..Settings::default() };
            assert_eq!(settings.token().is_err(), refused, "{address}");
        }
    }
}
