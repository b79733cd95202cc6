//! The options by which copies are bounded.
//!
//! Owns: [`CopyFlags`], so that every command that copies has the same.

use pail_control::quantity::ByteSize;
use pail_transfer::Options;

/// How much of the network and of the store a copy may use.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct CopyFlags {
    /// At most so many bytes in a second over all connections, such as 50M [default: no limit]
    #[arg(long, value_name = "SIZE")]
    limit_rate: Option<ByteSize>,

    /// Requests for objects' bytes at the same time, 1 to 128 [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    connections: Option<u16>,
}

impl CopyFlags {
    /// `options` with these.
    pub fn on(&self, options: Options) -> Options {
        Options {
            rate_bytes_per_s: self.limit_rate.map(|rate| rate.0).filter(|rate| *rate > 0),
            connections: self.connections.map_or(options.connections, usize::from),
            ..options
        }
    }
}
