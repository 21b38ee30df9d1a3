//! Every switch, tried over the wire.
