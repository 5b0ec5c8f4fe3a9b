//! Header names as upstreams may fold them.
//!
//! CGI, WSGI and others turn `-`, `_` and `.` into one character and ignore case, so
//! `X_Forwarded.User` reaches an application as `X-Forwarded-User`. Names are compared as the most
//! generous of them would.

use http::HeaderName;

/// Whatever starts like this, folded, speaks about identity or origin: only the gate may.
const RESERVED_PREFIXES: [&[u8]; 18] = [
    b"portcullis",
    b"xforwarded",
    b"forwarded",
    b"xrealip",
    b"xoriginal",
    b"xrewrite",
    b"xenvoy",
    b"xmiddleware",
    b"xauthenticated",
    b"xauthrequest",
    b"xremote",
    b"remoteuser",
    b"xclientcert",
    b"xssl",
    // RFC 9440: says which certificate a client had.
    b"clientcert",
    b"xclientip",
    b"trueclientip",
    b"xhttpmethod",
];

/// Folded names that are reserved as they stand.
const RESERVED_NAMES: [&[u8]; 6] = [
    b"xmethodoverride",
    b"remoteaddr",
    b"clientip",
    b"cfconnectingip",
    b"xclusterclientip",
    // CVE-2016-5385 (httpoxy): CGI makes the variable of it that says which proxy to use.
    b"proxy",
];

/// Names that mean something only with their hyphens: another spelling is an alias of them.
const ALIASED: [&[u8]; 13] = [
    b"contentlength",
    b"transferencoding",
    b"host",
    b"authorization",
    b"cookie",
    b"contenttype",
    b"contentencoding",
    b"expect",
    b"upgrade",
    b"grpctimeout",
    b"proxyauthorization",
    b"proxyconnection",
    b"keepalive",
];

/// No reserved name is longer than this once folded; what is longer is compared by its start.
const LONGEST: usize = 24;

/// Whether a client may not set `name`, in whatever spelling.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    // Names come in lower case from the parser; most start with a letter that nothing reserved has.
    if !matches!(bytes.first(), Some(b'p' | b'x' | b'f' | b'r' | b't' | b'c' | b'_' | b'.' | b'-'))
        && !bytes.iter().any(|b| matches!(b, b'_' | b'.'))
    {
        return false;
    }
    let mut buffer = [0; LONGEST];
    let folded = fold(bytes, &mut buffer);
    RESERVED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
        || RESERVED_NAMES.contains(&folded)
        || (bytes.iter().any(|b| matches!(b, b'_' | b'.')) && ALIASED.contains(&folded))
}

/// Whether `name` folds to the gate's own prefix.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    if !matches!(bytes.first(), Some(b'p' | b'_' | b'.' | b'-')) {
        return false;
    }
    let mut buffer = [0; LONGEST];
    fold(bytes, &mut buffer).starts_with(b"portcullis")
}

/// Whether two names fold to one.
pub(crate) fn are_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let folded = |name: &HeaderName| -> Vec<u8> {
        let kept = name.as_str().bytes().filter(|b| !matches!(b, b'-' | b'_' | b'.'));
        kept.collect()
    };
    one == other || folded(one) == folded(other)
}

fn fold<'a>(name: &[u8], buffer: &'a mut [u8; LONGEST]) -> &'a [u8] {
    let kept = name.iter().filter(|b| !matches!(b, b'-' | b'_' | b'.'));
    let mut length = 0;
    for (slot, byte) in buffer.iter_mut().zip(kept) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    buffer.get(..length).unwrap_or_default()
}
