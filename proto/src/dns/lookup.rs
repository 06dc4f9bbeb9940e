//! One name asked of one server: both questions at once, and what the packets that come in amount to.

use core::net::IpAddr;

use super::DnsError;
use super::message::{Question, Refusal, TYPE_A, TYPE_AAAA, answer};

/// See the module's description. An answer with IPv4 addresses is enough. Some servers refuse AAAA and know A all the
/// same: a refusal counts once both are answered.
#[derive(Debug)]
pub struct Lookup {
    name: String,
    open: Vec<Question>,
    found: Vec<IpAddr>,
    refused: Option<Refusal>,
    truncated: bool,
}

impl Lookup {
    /// For `name`, in questions with these ids: random, so that nobody can answer who has not seen them.
    ///
    /// # Errors
    /// [`DnsError::BadName`].
    pub fn new(name: &str, ids: [u16; 2]) -> Result<Self, DnsError> {
        let [a, aaaa] = ids;
        let open = vec![Question { id: a, kind: TYPE_A }, Question { id: aaaa, kind: TYPE_AAAA }];
        let lookup = Self { name: name.to_owned(), open, found: Vec::new(), refused: None, truncated: false };
        if lookup.queries().len() == lookup.open.len() { Ok(lookup) } else { Err(DnsError::BadName) }
    }

    /// One packet for each question without an answer.
    #[must_use]
    pub fn queries(&self) -> Vec<Vec<u8>> {
        self.open.iter().filter_map(|question| question.encode(&self.name)).collect()
    }

    /// Takes a packet. Whether that was enough.
    pub fn receive(&mut self, packet: &[u8]) -> bool {
        // Anything else is a late or a forged packet, and does not count.
        let answered = self.open.iter().position(|question| question.is_answered_by(packet, &self.name));
        let Some(question) = answered.map(|index| self.open.swap_remove(index)) else { return false };
        match answer(packet, question.kind) {
            Ok(answer) => {
                self.truncated |= answer.truncated;
                let enough = question.kind == TYPE_A && !answer.addresses.is_empty();
                self.found.extend(answer.addresses);
                enough || self.open.is_empty()
            }
            Err(refusal) => {
                self.refused = self.refused.max(Some(refusal));
                self.open.is_empty()
            }
        }
    }

    /// Whether to ask again over TCP: an answer was cut short, and what there was of it is no address.
    #[must_use]
    pub fn wants_tcp(&self) -> bool {
        self.truncated && self.found.is_empty()
    }

    /// What came of it, IPv4 first; no addresses mean that the name has none.
    ///
    /// # Errors
    /// The name does not exist, or this server does not say.
    pub fn end(mut self) -> Result<Vec<IpAddr>, DnsError> {
        self.found.sort_by_key(IpAddr::is_ipv6);
        match self.refused {
            _ if !self.found.is_empty() => Ok(self.found),
            _ if !self.open.is_empty() || self.truncated => Err(DnsError::NoAnswer),
            None => Ok(self.found),
            Some(Refusal::NoSuchName) => Err(DnsError::NoSuchName),
            // Another may.
            Some(Refusal::Other) => Err(DnsError::NoAnswer),
        }
    }
}
