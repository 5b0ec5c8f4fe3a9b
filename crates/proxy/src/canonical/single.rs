//! Headers that decide something: each at most once, in plain ASCII.

use http::{HeaderMap, HeaderName, header};
use portcullis_model::Refusal;

/// The gate's own credential header.
pub(crate) const PORTCULLIS_AUTHORIZATION: HeaderName =
    HeaderName::from_static("portcullis-authorization");
/// Addresses one instance.
pub(crate) const PORTCULLIS_INSTANCE: HeaderName = HeaderName::from_static("portcullis-instance");
/// How long a gRPC client waits.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const DECISIVE: [HeaderName; 9] = [
    header::AUTHORIZATION,
    PORTCULLIS_AUTHORIZATION,
    PORTCULLIS_INSTANCE,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::EXPECT,
    header::UPGRADE,
    GRPC_TIMEOUT,
];

/// Refuses duplicates and bytes that are not visible ASCII in any header that a decision reads.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    for name in &DECISIVE {
        let mut values = headers.get_all(name).iter();
        let Some(first) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Refusal::Malformed("a header that decides something is there twice"));
        }
        if first.to_str().is_err() {
            return Err(Refusal::Malformed("a header that decides something is not plain ASCII"));
        }
    }
    Ok(())
}
