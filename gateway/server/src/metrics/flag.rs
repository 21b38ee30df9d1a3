//! Response flags, as Envoy prints them and Istio's dashboards know them.

/// Why a response is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Flag {
    /// Nothing unusual.
    #[default]
    None,
    /// No route for the request.
    NoRoute,
    /// The route's cluster does not exist.
    NoCluster,
    /// The cluster has no healthy endpoint.
    NoHealthyUpstream,
    /// The cluster takes no more at once.
    UpstreamOverflow,
    /// The connection to the endpoint failed.
    UpstreamConnectionFailure,
    /// The endpoint closed the connection before it had answered.
    UpstreamConnectionTermination,
    /// The endpoint reset the request.
    UpstreamReset,
    /// The endpoint took too long.
    UpstreamTimeout,
    /// The endpoint's answer was not HTTP.
    UpstreamProtocolError,
    /// The client went away.
    DownstreamConnectionTermination,
    /// The client's request was not HTTP.
    DownstreamProtocolError,
    /// The client's request paused for too long.
    StreamIdleTimeout,
    /// An error made on purpose.
    FaultInjected,
}

impl Flag {
    /// The short form; `-` for none.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Flag::None => "-",
            Flag::NoRoute => "NR",
            Flag::NoCluster => "NC",
            Flag::NoHealthyUpstream => "UH",
            Flag::UpstreamOverflow => "UO",
            Flag::UpstreamConnectionFailure => "UF",
            Flag::UpstreamConnectionTermination => "UC",
            Flag::UpstreamReset => "UR",
            Flag::UpstreamTimeout => "UT",
            Flag::UpstreamProtocolError => "UPE",
            Flag::DownstreamConnectionTermination => "DC",
            Flag::DownstreamProtocolError => "DPE",
            Flag::StreamIdleTimeout => "SI",
            Flag::FaultInjected => "FI",
        }
    }
}

/// All that is to be said of one response. Envoy prints flags in the order in which they were set: the delay comes
/// before everything, and that there were as many tries as there may be, or as there may be at once, before what the last
/// one failed of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Flags {
    /// It was delayed on purpose: `DI`.
    pub(crate) delayed: bool,
    /// It was tried as often as its route says: `URX`.
    pub(crate) exhausted: bool,
    /// It would have been tried again, but that its cluster had too many retries at once: `UO`.
    pub(crate) overflowed: bool,
    /// The final cause.
    pub(crate) cause: Flag,
}

impl From<Flag> for Flags {
    fn from(cause: Flag) -> Self {
        Flags { cause, ..Flags::default() }
    }
}

impl Flags {
    /// The short forms, with commas between them; `-` for none.
    pub(crate) fn text(self) -> String {
        let flags = [
            (self.delayed, "DI"),
            (self.exhausted, "URX"),
            (self.overflowed, "UO"),
            (self.cause != Flag::None, self.cause.as_str()),
        ];
        let set: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect();
        if set.is_empty() { "-".to_owned() } else { set.join(",") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_in_the_order_in_which_they_were_set() {
        for (delayed, exhausted, overflowed, cause, text) in [
            (false, false, false, Flag::None, "-"),
            (false, false, false, Flag::NoRoute, "NR"),
            (true, false, false, Flag::None, "DI"),
            (true, false, false, Flag::FaultInjected, "DI,FI"),
            (false, true, false, Flag::None, "URX"),
            (true, true, false, Flag::UpstreamTimeout, "DI,URX,UT"),
            (false, false, true, Flag::UpstreamConnectionFailure, "UO,UF"),
            (false, false, false, Flag::UpstreamOverflow, "UO"),
        ] {
            assert_eq!(Flags { delayed, exhausted, overflowed, cause }.text(), text);
        }
    }
}
