//! Values that several fields share: durations, shares, names, domains, destinations, weights.

use std::net::IpAddr;
use std::time::Duration;

use crate::host::HostPattern;
use crate::origin::{At, Pos};
use crate::wire::object::is_dns_name;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Destination, Percent};

/// Istio `ValidateDuration`: at least a millisecond, and whole ones.
pub(super) fn duration(written: &At<Duration>, sink: &mut Sink<'_>) {
    let millisecond = Duration::from_millis(1);
    if written.value < millisecond {
        sink.schema(written.pos, format!("{:?} is under 1ms", written.value));
    } else if !written.subsec_nanos().is_multiple_of(1_000_000) {
        sink.schema(written.pos, format!("{:?} is finer than milliseconds", written.value));
    }
}

/// Istio `validatePercentage`: 0, or 0.0001 to 100. Gateways sample in millionths.
pub(super) fn percentage(written: &At<Percent>, sink: &mut Sink<'_>) {
    let Percent { value } = &written.value;
    let Some(value) = value else { return };
    if value.value != 0.0 && !(0.0001..=100.0).contains(&value.value) {
        sink.schema(value.pos, format!("{} is neither 0 nor within 0.0001 to 100", value.value));
    }
}

/// A share of a mirror: 0 to 100.
pub(super) fn share(written: &At<Percent>, sink: &mut Sink<'_>) {
    let Percent { value } = &written.value;
    if let Some(value) = value.as_ref().filter(|value| !(0.0..=100.0).contains(&value.value)) {
        sink.schema(value.pos, format!("{} is not within 0 to 100", value.value));
    }
}

/// RFC 1123's label, which is also a sound name of a subset, a namespace or a Gateway.
pub(super) fn is_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_dns_name(&name.to_ascii_lowercase())
}

/// Istio `ValidateWildcardDomain`: a name, or a wildcard with a name behind it; the error says what is wrong.
/// What [`HostPattern`] refuses anyway is no error here.
pub(super) fn domain(host: &str) -> Result<(), String> {
    if host.parse::<IpAddr>().is_ok() || HostPattern::parse(host).is_err() {
        return Ok(());
    }
    if host.contains('_') {
        return Err(format!("{host:?} is not a host name: it may not have \"_\""));
    }
    match host.rsplit_once('.') {
        Some((_, last)) if last.chars().all(|c| c.is_ascii_digit()) => {
            Err(format!("{host:?} is not a host name: its last part is a number"))
        }
        _ => Ok(()),
    }
}

/// Istio `validateDestination`.
pub(super) fn destination(written: &Destination, sink: &mut Sink<'_>) {
    let Destination { host, subset, port: _ } = written; // a port without its number is not read
    // Istio also takes wildcards such as `*-shop.test` here; no service has such a name.
    let rest = host.strip_prefix('*').map(|rest| rest.trim_start_matches(['-', '.']));
    let name = rest.unwrap_or(host);
    let fault = match HostPattern::parse(name) {
        _ if host.value == "*" => Err("\"*\" is not a destination".to_owned()),
        Err(_) => Err(format!("{:?} is not the host of a destination", host.value)),
        Ok(_) => domain(name),
    };
    if let Err(message) = fault {
        sink.schema(host.pos, message);
    }
    if let Some(subset) = subset.as_ref().filter(|subset| !subset.is_empty() && !is_label(subset)) {
        sink.schema(subset.pos, format!("{:?} is not the name of a subset", subset.value));
    }
}

/// Istio `validateRouteDestinations`: none under 0, and not all 0 where there are several.
pub(super) fn weights<'w>(
    first: Pos,
    weights: impl ExactSizeIterator<Item = Option<&'w At<i64>>>,
    sink: &mut Sink<'_>,
) {
    let several = weights.len() > 1;
    let mut total = 0_i64;
    for weight in weights.flatten() {
        if !(0..=i64::from(i32::MAX)).contains(&weight.value) {
            sink.schema(weight.pos, format!("weight {} is not within 0 to {}", weight.value, i32::MAX));
            return;
        }
        total = total.saturating_add(weight.value);
    }
    if several && total == 0 {
        sink.schema(first, "total destination weight = 0: all weights are zero".into());
    }
}

/// Istio `validateGatewayNames`: `name`, `namespace/name` or, as of old, `name.namespace`.
pub(super) fn gateway_names(names: &[At<String>], sink: &mut Sink<'_>) {
    for name in names {
        match name.split_once('/') {
            None if is_dns_name(&name.to_ascii_lowercase()) => {
                if let Some((gateway, rest)) = name.split_once('.') {
                    let namespace = rest.split('.').next().unwrap_or(rest);
                    let message = format!("{:?} is the old way to name a Gateway", name.value);
                    super::warn(name.pos, format!("{message}; write \"{namespace}/{gateway}\""), sink);
                }
            }
            // Istio's code takes "./name" as the own namespace, and its validation refuses it.
            Some((namespace, gateway)) if (namespace == "." || is_label(namespace)) && is_label(gateway) => {}
            _ => {
                sink.schema(name.pos, format!("{:?} is not the name of a Gateway", name.value))
                    .hints
                    .push("write \"name\" or \"namespace/name\"".into());
            }
        }
    }
}

/// Kubernetes' labels: a key with an optional prefix, and a value of at most 63 characters.
pub(super) fn labels(labels: &[(At<String>, At<String>)], sink: &mut Sink<'_>) {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = |text: &str| {
        text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
    };
    for (key, value) in labels {
        let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(p, name)| (Some(p), name));
        if name.is_empty() || !word(name) || prefix.is_some_and(|prefix| !is_dns_name(prefix)) {
            sink.schema(key.pos, format!("{:?} is not the name of a label", key.value));
        }
        if !word(value) {
            sink.schema(value.pos, format!("{:?} is not the value of a label", value.value));
        }
    }
}

/// Istio `ValidateIPSubnet`: an address, or one with the length of its prefix.
pub(super) fn subnet(written: &At<String>, sink: &mut Sink<'_>) {
    let sound = match written.split_once('/') {
        None => written.parse::<IpAddr>().is_ok(),
        Some((address, length)) => {
            let most = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => Some(32),
                Ok(IpAddr::V6(_)) => Some(128),
                Err(_) => None,
            };
            length.parse::<u8>().ok().zip(most).is_some_and(|(length, most)| length <= most)
        }
    };
    if !sound {
        sink.schema(written.pos, format!("{:?} is neither an address nor a subnet", written.value));
    }
}
