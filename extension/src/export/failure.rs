//! Why a request was not answered, in words that say what to change.

use std::error::Error;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::core::Outcome;

/// A request without an answer, or with none that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may go better later.
    Later(String),
    /// Only when somebody changes something.
    Never(String),
}

impl Failure {
    /// `maybe_sent`: whether the backend may have the request all the same.
    pub(super) fn outcome(self, maybe_sent: bool) -> Outcome {
        match self {
            Self::Later(message) => Outcome::Retry { after: None, maybe_sent, message },
            Self::Never(message) => Outcome::Refused { message },
        }
    }

    /// Of anything that went wrong on a connection.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = cause::<rustls::Error>(error) {
            return of_tls(error);
        }
        match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse_version_h2() => Self::Never(
                "the backend speaks HTTP/2 without TLS, as for LAMBDA_FLUSH_OTLP_PROTOCOL=grpc".to_owned(),
            ),
            Some(error) if error.is_parse() => Self::Never(format!(
                "the backend's answer is no HTTP: does LAMBDA_FLUSH_OTLP_ENDPOINT need https://, another port or \
                 another LAMBDA_FLUSH_OTLP_PROTOCOL? ({})",
                chain(error)
            )),
            _ => Self::Later(chain(error)),
        }
    }
}

/// Certificates and alerts are somebody's to change; a connection that broke is not.
fn of_tls(error: &rustls::Error) -> Failure {
    use rustls::Error as Tls;
    let told = match error {
        Tls::InvalidCertificate(problem) => format!("the backend's certificate {}", certificate(problem)),
        Tls::AlertReceived(AlertDescription::CertificateRequired) => {
            "the backend wants a client certificate: set \
             LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE and LAMBDA_FLUSH_OTLP_CLIENT_KEY"
                .to_owned()
        }
        Tls::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!(
            "the backend does not accept the client certificate ({alert:?}): change \
             LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE and LAMBDA_FLUSH_OTLP_CLIENT_KEY"
        ),
        Tls::AlertReceived(AlertDescription::InternalError) => return Failure::Later(error.to_string()),
        Tls::AlertReceived(alert) => {
            format!(
                "the backend refuses the TLS connection ({alert:?}); if it wants a client certificate, set \
                 LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE and LAMBDA_FLUSH_OTLP_CLIENT_KEY"
            )
        }
        Tls::InvalidMessage(_) => {
            "the backend does not speak TLS there: is LAMBDA_FLUSH_OTLP_ENDPOINT http://?".to_owned()
        }
        Tls::NoApplicationProtocol | Tls::PeerIncompatible(_) => {
            format!("the backend's TLS does not fit ours: {error}")
        }
        _ => return Failure::Later(format!("TLS: {error}")),
    };
    Failure::Never(told)
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired => "has expired: it has to be renewed".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}: it has to be renewed", date(*not_after))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", date(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "is signed by an authority that is not trusted: if it is the right one, \
             name a PEM file with that authority in LAMBDA_FLUSH_OTLP_CERTIFICATE"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is not for {}: put one of its names into LAMBDA_FLUSH_OTLP_ENDPOINT ({})",
            expected.to_str(),
            presented.join(", ")
        ),
        CertificateError::NotValidForName => {
            "is not for the name in LAMBDA_FLUSH_OTLP_ENDPOINT: one of the two has to change".to_owned()
        }
        CertificateError::Revoked => "was revoked: it has to be replaced".to_owned(),
        other => format!("can't be trusted: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(time.as_secs()))
        .map_or_else(|| "an unknown date".to_owned(), httpdate::fmt_http_date)
}

/// The first error of that type in the chain; `io::Error` hides what is in it from `source`.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// An error with its causes: hyper's own words are only "connection error".
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
