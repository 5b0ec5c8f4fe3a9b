//! The header section that a client gets.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis_identity::browser::sets_ours;

use super::{fold, remove_matching, request::REQUEST_ID, strip_hop_by_hop};
use crate::canonical::single::Present;

/// Names the classes of sensitive data that are masked.
pub(crate) const MASKED: HeaderName = HeaderName::from_static("portcullis-masked");
/// Names the grant that was used.
const GRANT: HeaderName = HeaderName::from_static("portcullis-grant");

/// Removes what an upstream may not say in the gate's name, and adds what the gate says. Returns what the
/// upstream's `Connection` named, which may not come behind the body either.
pub(crate) fn filter(
    headers: &mut HeaderMap,
    request_id: &HeaderValue,
    grant: Option<HeaderValue>,
) -> Vec<HeaderName> {
    // One pass over what is there costs less than a look-up for each that may be.
    let (mut hop_by_hop, mut ours, mut cookies) = (false, false, false);
    for name in headers.keys() {
        hop_by_hop |= Present::named(name).has(Present::HOP_BY_HOP);
        ours |= fold::is_ours(name);
        cookies |= *name == header::SET_COOKIE;
    }
    let nominated = if hop_by_hop { strip_hop_by_hop(headers) } else { Vec::new() };
    if ours {
        remove_matching(headers, fold::is_ours);
    }
    if cookies {
        strip_our_cookies(headers);
    }
    headers.insert(REQUEST_ID, request_id.clone());
    if let Some(grant) = grant {
        headers.insert(GRANT, grant);
    }
    nominated
}

/// Removes cookies that only the gate may set: an upstream could sign somebody in as somebody else.
fn strip_our_cookies(headers: &mut HeaderMap) {
    if !headers.get_all(header::SET_COOKIE).iter().any(sets_ours) {
        return;
    }
    let cookies = headers.get_all(header::SET_COOKIE).iter();
    let theirs: Vec<HeaderValue> = cookies.filter(|cookie| !sets_ours(cookie)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for cookie in theirs {
        headers.append(header::SET_COOKIE, cookie);
    }
}
