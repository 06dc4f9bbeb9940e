//! One export request as it goes out; made anew for each attempt.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header};
use http_body_util::Full;

use super::Body;
use super::answer::GRPC_PREFIX_BYTES;
use super::compress::Compressors;
use super::connect::Target;
use super::failure::Failure;
use crate::config::{Compression, Destination, Protocol};

/// By it our own receivers know our requests, so that they can't go round in a circle.
pub(crate) const PRODUCT: &str = "lambda-flush-extension/";
const USER_AGENT: &str = concat!("lambda-flush-extension/", env!("CARGO_PKG_VERSION"));
/// The most that fits the eight digits of `grpc-timeout`.
const GRPC_TIMEOUT_MS_MAX: u128 = 99_999_999;

/// A body as it goes out.
pub(super) struct Payload {
    bytes: Bytes,
    encoding: Option<HeaderValue>,
}

impl Payload {
    pub(super) async fn new(
        compressors: &Compressors,
        destination: &Destination,
        body: Bytes,
    ) -> Result<Self, Failure> {
        let prefix = match destination.protocol {
            Protocol::HttpProtobuf => 0,
            Protocol::Grpc => GRPC_PREFIX_BYTES,
        };
        let compressed = compressors
            .compress(destination.compression, &body, prefix)
            .await
            .map_err(|error| Failure::Later(format!("the request can't be compressed: {error}")))?;
        let encoding = match destination.compression {
            _ if compressed.is_none() => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
            Compression::None => None,
        };
        let bytes = match (compressed, destination.protocol) {
            (Some(bytes), Protocol::HttpProtobuf) => bytes.into(),
            (None, Protocol::HttpProtobuf) => body,
            (Some(bytes), Protocol::Grpc) => framed(1, bytes)?,
            (None, Protocol::Grpc) => {
                let mut bytes = Vec::with_capacity(GRPC_PREFIX_BYTES + body.len());
                bytes.resize(GRPC_PREFIX_BYTES, 0);
                bytes.extend_from_slice(&body);
                framed(0, bytes)?
            }
        };
        Ok(Self { bytes, encoding })
    }

    pub(super) fn request(
        &self,
        destination: &Destination,
        target: &Target,
        mut headers: HeaderMap,
        left: Duration,
    ) -> Result<Request<Body>, Failure> {
        let agent = user_agent(headers.get(header::USER_AGENT));
        let mut set = |name: HeaderName, value: HeaderValue| drop(headers.insert(name, value));
        let mut request = Request::new(Full::new(self.bytes.clone()));
        *request.method_mut() = http::Method::POST;
        set(header::USER_AGENT, agent);
        match destination.protocol {
            Protocol::HttpProtobuf => {
                set(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if let Some(encoding) = &self.encoding {
                    set(header::CONTENT_ENCODING, encoding.clone());
                }
                set(header::HOST, host(&destination.url)?);
                match target.forwarding_proxy() {
                    None => *request.uri_mut() = origin_form(&destination.url),
                    Some(proxy) => {
                        *request.uri_mut() = destination.url.clone();
                        if let Some(authorization) = &proxy.authorization {
                            set(header::PROXY_AUTHORIZATION, authorization.clone());
                        }
                    }
                }
            }
            Protocol::Grpc => {
                set(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                set(header::TE, HeaderValue::from_static("trailers"));
                if let Some(encoding) = &self.encoding {
                    set(HeaderName::from_static("grpc-encoding"), encoding.clone());
                }
                let millis = left.as_millis().clamp(1, GRPC_TIMEOUT_MS_MAX);
                if let Ok(timeout) = HeaderValue::from_str(&format!("{millis}m")) {
                    set(HeaderName::from_static("grpc-timeout"), timeout);
                }
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = destination.url.clone();
            }
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// A configured one, and ours behind it.
fn user_agent(configured: Option<&HeaderValue>) -> HeaderValue {
    let both = configured.map(|configured| [configured.as_bytes(), USER_AGENT.as_bytes()].join(&b' '));
    let both = both.and_then(|both| HeaderValue::from_bytes(&both).ok());
    both.unwrap_or(HeaderValue::from_static(USER_AGENT))
}

/// Fills in the prefix that `bytes` begin with.
fn framed(flag: u8, mut bytes: Vec<u8>) -> Result<Bytes, Failure> {
    let len = u32::try_from(bytes.len().saturating_sub(GRPC_PREFIX_BYTES))
        .map_err(|_| Failure::Never("the request is too long for gRPC".to_owned()))?;
    let [a, b, c, d] = len.to_be_bytes();
    for (place, byte) in bytes.iter_mut().zip([flag, a, b, c, d]) {
        *place = byte;
    }
    Ok(bytes.into())
}

fn host(url: &Uri) -> Result<HeaderValue, Failure> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    HeaderValue::from_str(authority).map_err(|error| Failure::Never(error.to_string()))
}

fn origin_form(url: &Uri) -> Uri {
    url.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()))
}
