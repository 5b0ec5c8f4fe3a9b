//! The digest of one request: what a grant for one action is bound to.
//!
//! SHA-256 over a canonical form in which every part is preceded by its length as eight bytes, big
//! endian, so that no two requests have one form. The parts, in order:
//!
//! 1. the label `portcullis request 1`
//! 2. the principal's type, and its id
//! 3. the service, and the addressed instance or nothing
//! 4. method, authority, path, and the query with a leading `?`, or nothing
//! 5. the number of headers, then each name and value; names in ascending order, the values of one
//!    name in theirs. These are the end-to-end headers that will be forwarded, without those that
//!    differ between two sendings of one action: tracing, user agent and accept headers,
//!    `grpc-timeout`, and the `wait` of `Prefer`, which say how long an answer may take
//! 6. the body bytes that will be sent
//!
//! A digest is over bytes and never over meaning: JSON that means the same in other bytes is
//! another request.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_model::{PrincipalId, Resource};
use sha2::{Digest, Sha256};

use crate::{
    canonical::Canonical,
    hold::{PREFER, rest},
};

/// The digest of a request as text: `sha256:` and 64 hexadecimal digits.
pub(crate) fn of(
    principal: &PrincipalId,
    resource: &Resource,
    request: &Canonical,
    body: &[u8],
) -> String {
    let mut form = Form::begun(b"portcullis request 1", principal, resource);
    form.part(request.method.as_str().as_bytes());
    form.part(request.authority.as_str().as_bytes());
    let path = request.target.path();
    form.part(path.as_bytes());
    form.part(request.target.as_str().get(path.len()..).unwrap_or_default().as_bytes());
    form.headers(&request.headers);
    form.part(body);
    form.finish()
}

/// The digest of opening a connection to a TCP service: the label `portcullis connection 1`, then the second
/// and third part. Which way it comes in makes no difference.
pub(crate) fn of_connection(principal: &PrincipalId, resource: &Resource) -> String {
    Form::begun(b"portcullis connection 1", principal, resource).finish()
}

struct Form(Sha256);

impl Form {
    fn begun(label: &[u8], principal: &PrincipalId, resource: &Resource) -> Self {
        let mut form = Self(Sha256::new());
        form.part(label);
        form.part(principal.kind.as_str().as_bytes());
        form.part(principal.id.as_bytes());
        form.part(resource.service.as_str().as_bytes());
        form.part(resource.instance.as_ref().map_or("", |instance| instance.as_str()).as_bytes());
        form
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn headers(&mut self, headers: &HeaderMap) {
        let covered = headers.iter().filter(|(name, _)| is_covered(name));
        let mut covered: Vec<_> = covered.filter_map(|(name, value)| part(name, value)).collect();
        // Stable: the values of one name stay in their order.
        covered.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        self.0.update((covered.len() as u64).to_be_bytes());
        for (name, value) in covered {
            self.part(name.as_str().as_bytes());
            self.part(value.as_bytes());
        }
    }

    fn finish(self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// How long the client would wait is nothing that it asks the upstream to do.
fn part<'a>(
    name: &'a HeaderName,
    value: &'a HeaderValue,
) -> Option<(&'a HeaderName, Cow<'a, HeaderValue>)> {
    if *name == PREFER {
        return rest(value).map(|rest| (name, Cow::Owned(rest)));
    }
    Some((name, Cow::Borrowed(value)))
}

fn is_covered(name: &HeaderName) -> bool {
    let name = name.as_str();
    let differs = matches!(
        name,
        "traceparent"
            | "tracestate"
            | "baggage"
            | "user-agent"
            | "x-request-id"
            | "x-correlation-id"
            | "content-length"
            | "grpc-timeout"
    );
    !differs && name != "accept" && !name.starts_with("accept-")
}

#[cfg(test)]
mod tests;
