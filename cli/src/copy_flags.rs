//! The options by which copies are bounded.
//!
//! Owns: [`CopyFlags`], so that every command that copies has the same.

use crate::open_files::connections_max;
use pail_control::quantity::ByteSize;
use pail_transfer::Options;

/// How much of the network and of the store a copy may use, and what of both sides it believes.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct CopyFlags {
    /// At most so many bytes in a second over all connections, such as 50M [default: no limit]
    #[arg(long, value_name = "SIZE")]
    limit_rate: Option<ByteSize>,

    /// Requests for objects' bytes at the same time, 1 to 256, at most [default: as many as pay, from 64 up to 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: Option<u16>,

    /// Leave out symbolic links in a directory that is sent, in place of following them
    #[arg(long)]
    no_follow_symlinks: bool,

    /// Do not verify by MD5s what the store has no checksum of, for servers whose ETags look like MD5s and are none, and blobs of Azure whose Content-MD5 is wrong
    #[arg(long)]
    no_etag_check: bool,
}

impl CopyFlags {
    /// `options` with these.
    pub fn on(&self, options: Options) -> Options {
        Options {
            rate_bytes_per_s: self.limit_rate.map(|rate| rate.0).filter(|rate| *rate > 0),
            follows_links: !self.no_follow_symlinks,
            verifies_by_md5: !self.no_etag_check,
            connections: self.connections.map_or(options.connections, usize::from).min(connections_max()),
            ..options
        }
    }
}
