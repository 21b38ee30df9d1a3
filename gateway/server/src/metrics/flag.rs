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
}

impl Flag {
    /// The short form; `-` for none.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Flag::None => "-",
            Flag::NoRoute => "NR",
            Flag::NoCluster => "NC",
            Flag::NoHealthyUpstream => "UH",
            Flag::UpstreamConnectionFailure => "UF",
            Flag::UpstreamConnectionTermination => "UC",
            Flag::UpstreamReset => "UR",
            Flag::UpstreamTimeout => "UT",
            Flag::UpstreamProtocolError => "UPE",
            Flag::DownstreamConnectionTermination => "DC",
            Flag::DownstreamProtocolError => "DPE",
        }
    }
}
