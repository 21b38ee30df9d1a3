//! What a client's certificate says: its names, and the field that tells an upstream of it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::proxy::Client;

/// A certificate's names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) dns: Vec<String>,
    pub(super) uris: Vec<String>,
    /// Addresses of machines and people.
    pub(super) others: Vec<String>,
}

/// The subject alternative names of a certificate; empty where it has none or can't be read.
pub(super) fn names(der: &[u8]) -> Names {
    let mut names = Names::default();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return names };
    let Ok(Some(listed)) = certificate.subject_alternative_name() else { return names };
    for name in &listed.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::RFC822Name(address) => names.others.push((*address).to_owned()),
            GeneralName::IPAddress([a, b, c, d]) => names.others.push(format!("{a}.{b}.{c}.{d}")),
            GeneralName::IPAddress(bytes) => {
                if let Ok(bytes) = <[u8; 16]>::try_from(*bytes) {
                    names.others.push(std::net::Ipv6Addr::from(bytes).to_string());
                }
            }
            _ => {}
        }
    }
    names
}

/// Until when the first certificate of a PEM text is valid, in seconds since 1970.
pub(super) fn expiry(pem: &[u8]) -> Option<i64> {
    let first = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&first).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The SHA-256 of a certificate's public key, as `verifyCertificateSpki` means it.
pub(super) fn public_key_digest(der: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Sha256::digest(certificate.public_key().raw).into())
}

/// What a certificate says to whoever serves its client. Envoy's `x-forwarded-client-cert`: digest, certificate,
/// subject, and each name.
pub(super) fn client(der: &[u8]) -> Option<Client> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (subject, pem, names) = (subject(&certificate), url_encoded_pem(der), names(der));
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!("Hash={fingerprint};Cert=\"{pem}\";Subject=\"{}\"", quoted(&subject));
    text.extend(names.uris.iter().map(|uri| format!(";URI={}", plain(uri))));
    text.extend(names.dns.iter().map(|name| format!(";DNS={}", plain(name))));
    Some(Client {
        forwarded: HeaderValue::from_str(&text).ok()?,
        subject: subject.into(),
        uris: names.uris.join(",").into(),
        pem: pem.into(),
        fingerprint: fingerprint.into(),
    })
}

/// RFC 2253: the last part first.
fn subject(certificate: &X509Certificate<'_>) -> String {
    let parts: Vec<_> = certificate.subject().iter().collect();
    let part = |attributes: &&x509_parser::x509::RelativeDistinguishedName<'_>| {
        let one = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let name = abbreviation(attribute.attr_type());
            format!("{name}={}", escaped(attribute.as_str().unwrap_or_default()))
        };
        attributes.iter().map(one).collect::<Vec<_>>().join("+")
    };
    parts.iter().rev().map(part).collect::<Vec<_>>().join(",")
}

fn abbreviation(attribute: &Oid<'_>) -> String {
    oid2abbrev(attribute, oid_registry()).map_or_else(|_| attribute.to_id_string(), str::to_owned)
}

/// RFC 2253's own escapes.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars() {
        if matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Inside quotes of the field.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A value of the field without quotes: what would end it, and what is no letter of a field, is left out.
fn plain(value: &str) -> String {
    value.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, ';' | ',' | '"' | '=')).collect()
}

/// What Envoy escapes of a certificate's text: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn url_encoded_pem(der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    utf8_percent_encode(&pem, RESERVED).to_string()
}
