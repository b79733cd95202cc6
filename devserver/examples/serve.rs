//! Runs a server until it is interrupted: `cargo run --release -p pail-devserver --example serve -- [PORT [FOLDER]]`.
//! `pail dev-server` is the command for people; this needs no other crate of the workspace.

use pail_devserver::{Server, ServerConfig};
use std::net::{Ipv4Addr, SocketAddr};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let port = match args.next() {
        Some(port) => port.parse().map_err(std::io::Error::other)?,
        None => 0,
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let folder = args.next().map(Into::into);
    let server = Server::start(ServerConfig { listen, folder, ..Default::default() }).await?;
    println!("{}", server.endpoint_url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
