//! Questions and answers on the wire (RFC 1035, 4; RFC 3596).

use core::net::IpAddr;

use super::ADDRESSES_MAX;

/// A name with its dots (RFC 1035, 3.1).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const HEADER_BYTES: usize = 12;
const CLASS_IN: u16 = 1;
/// The name does not exist.
const RCODE_NXDOMAIN: u8 = 3;
const FLAG_RESPONSE: u8 = 0x80;
const FLAG_TRUNCATED: u8 = 0x02;

/// The record type of IPv4 addresses.
pub const TYPE_A: u16 = 1;
/// The record type of IPv6 addresses.
pub const TYPE_AAAA: u16 = 28;

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Random.
    pub id: u16,
    /// [`TYPE_A`] or [`TYPE_AAAA`].
    pub kind: u16,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the kind asked for.
    pub addresses: Vec<IpAddr>,
    /// There are more, over TCP.
    pub truncated: bool,
}

/// Why an answer has no addresses; the later one says less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// There is no such name.
    NoSuchName,
    /// This server can't tell.
    Other,
}

impl Question {
    /// The packet; `None` for what is no host name.
    #[must_use]
    pub fn encode(self, name: &str) -> Option<Vec<u8>> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
        // Recursion desired; one question.
        for word in [self.id, 0x0100, 1, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for label in name.split('.') {
            let len = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            out.push(len);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        Some(out)
    }

    /// Whether `bytes` are a response that repeats this question.
    #[must_use]
    pub fn is_answered_by(self, bytes: &[u8], name: &str) -> bool {
        let Some(asked) = self.encode(name) else { return false };
        let (Some(theirs), Some(ours)) = (bytes.get(HEADER_BYTES..asked.len()), asked.get(HEADER_BYTES..))
        else {
            return false;
        };
        let is_response = bytes.get(2).is_some_and(|flags| flags & FLAG_RESPONSE != 0);
        is_response && word(bytes, 0) == Some(self.id) && theirs.eq_ignore_ascii_case(ours)
    }
}

/// The addresses of type `kind` in a response to one question. A part that makes no sense ends it.
///
/// # Errors
/// The server has no answer.
pub fn answer(bytes: &[u8], kind: u16) -> Result<Answer, Refusal> {
    match bytes.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(RCODE_NXDOMAIN) => return Err(Refusal::NoSuchName),
        _ => return Err(Refusal::Other),
    }
    let records = word(bytes, 6).ok_or(Refusal::Other)?;
    let truncated = bytes.get(2).is_some_and(|flags| flags & FLAG_TRUNCATED != 0);
    let mut addresses = Vec::new();
    let Some(mut at) = after_name(bytes, HEADER_BYTES).map(|end| end + 4) else {
        return Ok(Answer { addresses, truncated });
    };
    for _ in 0..records {
        // Type, class, TTL, length of the data.
        let Some(head) = after_name(bytes, at) else { break };
        let Some(len) = word(bytes, head + 8).map(usize::from) else { break };
        let Some(data) = bytes.get(head + 10..head + 10 + len) else { break };
        if word(bytes, head) == Some(kind) && word(bytes, head + 2) == Some(CLASS_IN) {
            addresses.extend(address(data));
        }
        if addresses.len() >= ADDRESSES_MAX {
            break;
        }
        at = head + 10 + len;
    }
    Ok(Answer { addresses, truncated })
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Where the name that begins at `at` ends. A pointer ends a name; where it points to does not matter here.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xc0 == 0xc0 => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    <[u8; 2]>::try_from(pair).ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_it_panic_or_go_on_for_ever() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut good = Question { id: 7, kind: TYPE_A }.encode("a.example").unwrap();
        good[2] |= FLAG_RESPONSE;
        good[7] = 2;
        for data in [&[10, 0, 0, 1][..], &[10, 0, 0, 2]] {
            good.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            good.extend_from_slice(data);
        }
        assert_eq!(answer(&good, TYPE_A).unwrap().addresses.len(), 2);
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let refused = bytes.len() < HEADER_BYTES || bytes[3] & 0x0f != 0;
            let found = answer(&bytes, TYPE_A);
            assert!(refused || found.is_ok_and(|found| found.addresses.len() <= ADDRESSES_MAX));
        }
    }
}
