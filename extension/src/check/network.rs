//! The first steps to a backend: its name's addresses, and a TCP connection to one of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::report::Finding;

/// Where a connection goes first: the backend, or the proxy before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Which variable names it.
    pub(super) variable: &'static str,
}

impl Peer {
    /// What a lookup has found.
    pub(super) fn found(&self, found: &Result<Vec<SocketAddr>, String>) -> Finding {
        match found {
            Ok(found) if !found.is_empty() => {
                let addresses: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
                Finding::ok(addresses.join(", "))
            }
            Ok(_) => Finding::fail(format!("{} has no address", self.host), self.name_advice()),
            Err(error) => Finding::fail(format!("{}: {error}", self.host), self.name_advice()),
        }
    }

    fn name_advice(&self) -> String {
        format!(
            "is the host in {} written right? A private name is known only in its own VPC: the function must be in it",
            self.variable
        )
    }

    /// Connects to the first address that answers within `limit`.
    pub(super) async fn connect(
        &self,
        addresses: &[SocketAddr],
        limit: Duration,
    ) -> (Option<TcpStream>, Finding) {
        let attempts = async {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok((stream, address)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match tokio::time::timeout(limit, attempts).await {
            Ok(Ok((stream, address))) => (Some(stream), Finding::ok(address.to_string())),
            Ok(Err(error)) => (None, self.refused(&error)),
            Err(_) => (None, self.silent(limit)),
        }
    }

    fn refused(&self, error: &io::Error) -> Finding {
        let Self { host, port, variable } = self;
        let change = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens there: is the backend up, and is the port in {variable} right?")
            }
            _ => format!("is the host in {variable} right, and is there a route to it?"),
        };
        Finding::fail(format!("{host}:{port}: {error}"), change)
    }

    fn silent(&self, limit: Duration) -> Finding {
        let Self { host, port, .. } = self;
        Finding::fail(
            format!("{host}:{port}: no connection within {} ms", limit.as_millis()),
            "packets are lost on the way: a security group, a network ACL, or a subnet without a route to the internet",
        )
    }
}
