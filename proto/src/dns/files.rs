//! What `/etc/hosts` and `/etc/resolv.conf` say, read as libc reads them.

use core::net::{IpAddr, SocketAddr};

use super::{ADDRESSES_MAX, PORT};

/// As libc has them.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const NDOTS_DEFAULT: usize = 1;
const NDOTS_MAX: usize = 15;

/// The addresses of `name` in `/etc/hosts`, IPv4 first.
#[must_use]
pub fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let line = |line| {
        let mut words = words(line);
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    let mut addresses: Vec<_> = text.lines().filter_map(line).take(ADDRESSES_MAX).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// To be asked in this order.
    pub servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl ResolvConf {
    /// What makes no sense is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self { servers: Vec::new(), search: Vec::new(), ndots: NDOTS_DEFAULT };
        for line in text.lines() {
            let mut words = words(line);
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                // The last of either wins.
                Some("search") => conf.search = words.take(SEARCH_MAX).filter_map(domain).collect(),
                Some("domain") => conf.search = words.take(1).filter_map(domain).collect(),
                Some("options") => {
                    for text in words.filter_map(|word| word.strip_prefix("ndots:")) {
                        conf.ndots = text.parse().map_or(conf.ndots, |ndots: usize| ndots.min(NDOTS_MAX));
                    }
                }
                _ => {}
            }
        }
        conf.servers.truncate(SERVERS_MAX);
        conf
    }

    /// One server instead of those in the file, and no search domains.
    #[must_use]
    pub fn of(server: SocketAddr) -> Self {
        Self { servers: vec![server], search: Vec::new(), ndots: NDOTS_DEFAULT }
    }

    /// The names to ask for, in this order, when a program says `host`: until one exists.
    #[must_use]
    pub fn names(&self, host: &str) -> Vec<String> {
        let bare = host.trim_end_matches('.').to_ascii_lowercase();
        if host.ends_with('.') {
            return vec![bare];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{bare}.{domain}")).collect();
        let dots = bare.matches('.').count();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, bare);
        names
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(['#', ';']).next().unwrap_or_default().split_whitespace()
}

/// A zone (`fe80::1%eth0`) is not supported.
fn server(text: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(text.parse().ok()?, PORT))
}

/// Not the root's, `.`: a name in it is the name itself.
fn domain(text: &str) -> Option<String> {
    let domain = text.trim_matches('.').to_ascii_lowercase();
    (!domain.is_empty()).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    #[test]
    fn hosts_are_found_in_any_case_and_ipv4_first() {
        let text =
            "127.0.0.1 localhost\n# 9.9.9.9 backend\n::1 backend\n10.1.1.1\tother  Backend # comment\n";
        let expected = [IpAddr::from([10, 1, 1, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        assert_eq!(hosts(text, "backend"), expected);
        assert_eq!(hosts(text, "backend."), expected);
        assert!(hosts(text, "back").is_empty());
    }

    #[test]
    fn servers_are_read_in_their_order() {
        let text =
            "; comment\nsearch example\nnameserver 10.0.0.2\nnameserver ::1\nnameserver x\noptions ndots:5";
        let servers = ResolvConf::parse(text).servers;
        assert_eq!(servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse::<SocketAddr>().unwrap()]);
        assert_eq!(ResolvConf::parse(&"nameserver 10.0.0.2\n".repeat(9)).servers.len(), SERVERS_MAX);
    }

    #[test]
    fn search_domains_come_before_or_after_the_name_itself() {
        let conf = ResolvConf::parse("domain gone.example\nsearch a.example. B.example\noptions x ndots:2");
        assert_eq!(conf.names("one"), ["one.a.example", "one.b.example", "one"]);
        assert_eq!(conf.names("One.Dot"), ["one.dot.a.example", "one.dot.b.example", "one.dot"]);
        assert_eq!(
            conf.names("so.many.dots"),
            ["so.many.dots", "so.many.dots.a.example", "so.many.dots.b.example"]
        );
        assert_eq!(conf.names("absolute."), ["absolute"]);
        assert_eq!(ResolvConf::parse("").names("one.dot"), ["one.dot"]);
        for root in ["search .", "search . ..", "domain ."] {
            assert_eq!(ResolvConf::parse(root).names("one"), ["one"], "{root}");
        }
        assert_eq!(ResolvConf::parse("search . a.example").names("one"), ["one.a.example", "one"]);
    }
}
