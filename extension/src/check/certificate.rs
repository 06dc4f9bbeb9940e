//! What people want to know of a certificate: whose it is, who signed it, until when. Reads the few fields of DER
//! (RFC 5280, 4.1) that say so, and decides nothing: verification is rustls's.

use std::fmt;

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Days since the Unix epoch on which it expires.
    pub(super) expires_day: i64,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, explicit: the version, which a certificate of version 1 lacks.
const VERSION: u8 = 0xa0;
/// 2.5.4.3, common name.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10, organization.
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// What is shown of one name.
const NAME_CHARS_MAX: usize = 100;
const SECONDS_PER_DAY: u64 = 86_400;

impl Certificate {
    /// `None` if the fields are not where they should be.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (mut rest, _) = expect(certificate, SEQUENCE)?;
        if let Some((_, after)) = expect(rest, VERSION) {
            rest = after;
        }
        let (_serial, rest) = value(rest)?;
        let (_algorithm, rest) = value(rest)?;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, _) = expect(rest, SEQUENCE)?;
        let (_not_before, not_after) = value(validity)?;
        Some(Self { subject: name(subject), issuer: name(issuer), expires_day: day(not_after)? })
    }

    /// Whole days from `now` (seconds since the Unix epoch) to the day it expires; negative when that is past.
    pub(super) fn days_left(&self, now_seconds: u64) -> i64 {
        self.expires_day - i64::try_from(now_seconds / SECONDS_PER_DAY).unwrap_or(i64::MAX / 2)
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.expires_day);
        write!(
            f,
            "certificate of {}, issued by {}, valid to {year:04}-{month:02}-{day:02}",
            self.subject, self.issuer
        )
    }
}

/// The contents of the first value if it has this tag, and what follows it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    if *der.first()? == tag { value(der) } else { None }
}

/// The contents of the first value, and what follows it.
fn value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = *der.get(1)?;
    let (length, head) = match first {
        0..=0x7f => (usize::from(first), 2),
        // As many bytes of length; no certificate needs more than three.
        0x81..=0x83 => {
            let count = usize::from(first & 0x7f);
            let bytes = der.get(2..2 + count)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        }
        _ => return None,
    };
    let (contents, rest) = der.get(head..)?.split_at_checked(length)?;
    Some((contents, rest))
}

/// The common name, else the organization, of a `Name`.
fn name(mut sets: &[u8]) -> String {
    let (mut common, mut organization) = (None, None);
    while let Some((set, rest)) = expect(sets, SET) {
        sets = rest;
        let attribute = expect(set, SEQUENCE).and_then(|(pair, _)| {
            let (oid, text) = expect(pair, OID)?;
            Some((oid, value(text)?.0))
        });
        match attribute {
            Some((COMMON_NAME, text)) => common = Some(shown(text)),
            Some((ORGANIZATION, text)) => organization = Some(shown(text)),
            _ => {}
        }
    }
    common.or(organization).unwrap_or_else(|| "(no name)".to_owned())
}

/// Text of whoever made the certificate, without what a terminal would obey.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect()
}

/// The day of a `Time`, in days since the Unix epoch.
fn day(time: &[u8]) -> Option<i64> {
    let (tag, (digits, _)) = (*time.first()?, value(time)?);
    let number = |from: usize, to: usize| -> Option<i64> {
        std::str::from_utf8(digits.get(from..to)?).ok()?.parse().ok()
    };
    let (year, at) = match tag {
        // RFC 5280, 4.1.2.5.1: "Where YY is greater than or equal to 50, the year SHALL be interpreted as 19YY".
        UTC_TIME => {
            let year = number(0, 2)?;
            (year + if year >= 50 { 1900 } else { 2000 }, 2)
        }
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, at + 2)?, number(at + 2, at + 4)?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| days(year, month, day))
}

/// Days since the Unix epoch, in the Gregorian calendar: years are counted from March, so that a leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The reverse of [`days`]: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    // Close, and mended: no year is longer than the divisor says.
    let mut year = 1970 + days.div_euclid(366);
    while self::days(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 12;
    while self::days(year, month, 1) > days {
        month -= 1;
    }
    (year, month, days - self::days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["backend.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "backend\u{7}.example");
        params.not_after = rcgen::date_time_ymd(2031, 2, 28);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn subject_issuer_and_expiry_are_read() {
        let certificate = Certificate::read(&made()).unwrap();
        assert_eq!(
            certificate.to_string(),
            "certificate of backend.example, issued by backend.example, valid to 2031-02-28"
        );
        let two_days_before = u64::try_from(days(2031, 2, 26)).unwrap() * SECONDS_PER_DAY + 3_600;
        assert_eq!(certificate.days_left(two_days_before), 2);
        assert_eq!(certificate.days_left(two_days_before + 3 * SECONDS_PER_DAY), -1);
    }

    #[test]
    fn nothing_broken_is_read_as_something_or_panics() {
        let whole = made();
        for end in 0..whole.len() {
            Certificate::read(&whole[..end]);
        }
        for place in 0..whole.len() {
            let mut broken = whole.clone();
            broken[place] ^= 0xff;
            Certificate::read(&broken);
        }
        assert_eq!(Certificate::read(b""), None);
        assert_eq!(Certificate::read(b"\x30\x84\xff\xff\xff\xff"), None);
    }

    #[test]
    fn days_and_dates_are_each_others_reverse() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        for day in (-200_000..200_000).step_by(97).chain([0, 11_016, 11_017]) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day, "{year}-{month}-{of_month}");
        }
        assert_eq!(civil(days(2024, 2, 29)), (2024, 2, 29));
    }
}
