//! Whose an endpoint is: its scheme, host and port, and whether they are a receiver of the extension's.
//!
//! The function's SDKs and the extension read the same environment, in which the endpoint is often the extension itself.

use core::net::{IpAddr, SocketAddr};

/// Scheme, host and port of a URL: where its requests go, and whose its credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    /// In lower case, without brackets.
    host: String,
    port: u16,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlFault {
    /// No `http://` or `https://`, or no host.
    NotAbsolute,
    /// What follows the host is no port.
    Port,
}

impl Origin {
    /// Of an `http://` or `https://` URL.
    ///
    /// # Errors
    /// It is none, or its port is not one from 1 to 65535.
    pub fn parse(url: &str) -> Result<Self, UrlFault> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlFault::NotAbsolute)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(UrlFault::NotAbsolute),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        // Of `[::1]:80` the host has colons itself.
        let colon = place.rfind(':').filter(|colon| place.rfind(']').is_none_or(|end| end < *colon));
        let (host, port) = match colon {
            Some(colon) => {
                let (host, port) = place.split_at(colon);
                (host, Some(port.get(1..).unwrap_or_default()))
            }
            None => (place, None),
        };
        let host = bare(host);
        if host.is_empty() {
            return Err(UrlFault::NotAbsolute);
        }
        let port = match port {
            None if https => 443,
            None => 80,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|port| *port != 0).ok_or(UrlFault::Port)?
            }
            Some(_) => return Err(UrlFault::Port),
        };
        Ok(Self { https, host, port })
    }

    /// Whether a request there comes to who listens at `listen`. An address of this sandbox's that no listener names is
    /// not known here: that is found out at the door.
    #[must_use]
    pub fn reaches(&self, listen: SocketAddr) -> bool {
        let ip = listen.ip().to_canonical();
        let same = self.host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical() == ip);
        self.port == listen.port() && (same || is_here(&self.host))
    }
}

/// Whether a host is this sandbox.
#[must_use]
pub fn is_here(host: &str) -> bool {
    let bare = bare(host);
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            ["localhost", "sandbox", "sandbox.localdomain"].contains(&bare.as_str())
                || bare.ends_with(".localhost")
        }
    }
}

/// Without brackets and the root's dot.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_same_however_they_are_written() {
        let parsed = |url| Origin::parse(url).unwrap();
        assert_eq!(parsed("https://Backend.example./base?x"), parsed("HTTPS://backend.example:443"));
        assert_eq!(parsed("http://[::1]/"), parsed("http://[::1]:80"));
        assert_eq!(parsed("http://user:p@ss@backend"), parsed("http://backend"));
        for other in ["http://backend.example", "https://backend.example:4318", "https://other.example"] {
            assert_ne!(parsed("https://backend.example"), parsed(other));
        }
    }

    #[test]
    fn what_is_no_url_or_no_port_is_told() {
        for url in ["backend:4318", "ftp://backend", "http://", "http:///v1", "http://:80", "", "http://[]:1"]
        {
            assert_eq!(Origin::parse(url), Err(UrlFault::NotAbsolute), "{url}");
        }
        for port in ["99999", "", "0", "x", "+80", "80x"] {
            assert_eq!(Origin::parse(&format!("http://127.0.0.1:{port}/v1")), Err(UrlFault::Port), "{port}");
        }
    }

    #[test]
    fn a_receiver_is_known_by_any_of_its_names() {
        let reaches = |url, listen: &str| Origin::parse(url).unwrap().reaches(listen.parse().unwrap());
        for url in [
            "http://127.0.0.1:4318",
            "http://127.8.8.8:4318/v1/traces",
            "http://[::1]:4318",
            "http://[::ffff:127.0.0.1]:4318",
            "http://[::]:4318",
            "http://0.0.0.0:4318",
            "http://LocalHost.:4318",
            "http://sandbox.localdomain:4318",
        ] {
            assert!(reaches(url, "127.0.0.1:4318"), "{url}");
        }
        assert!(reaches("http://10.1.2.3:4318", "10.1.2.3:4318"));
        assert!(reaches("http://10.1.2.3:4318", "[::ffff:10.1.2.3]:4318"));
        assert!(reaches("http://localhost", "127.0.0.1:80") && reaches("https://[::1]", "127.0.0.1:443"));
        assert!(!reaches("http://localhost:4317", "127.0.0.1:4318"));
        assert!(!reaches("http://backend.example:4318", "0.0.0.0:4318"));
        assert!(!reaches("http://10.1.2.4:4318", "10.1.2.3:4318"));
    }
}
