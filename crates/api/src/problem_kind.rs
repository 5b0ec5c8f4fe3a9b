//! The kinds of problem there are, for the gate's and the API's answers and for the pages that
//! explain them.

/// A kind of problem. Its page is `/problems/{code}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// See [`ProblemKind::facts`], which says everything about each.
    Malformed,
    /// The method is not taken here.
    MethodNotAllowed,
    /// No credentials.
    Unauthenticated,
    /// Worthless credentials.
    BadCredentials,
    /// A page of another origin.
    CrossOrigin,
    /// Policy says no.
    Denied,
    /// Policy says not yet.
    Requestable,
    /// It waited, and somebody said no.
    Declined,
    /// Nothing there for this caller.
    NotFound,
    /// A body or head over its limit.
    TooLarge,
    /// The gate's `too-slow`.
    TooSlow,
    /// A connection made for another host.
    Misdirected,
    /// A value that its type cannot hold.
    NotRepresentable,
    /// HTTP, to a service that speaks TCP.
    SpeaksTcp,
    /// Too many for now.
    Limited,
    /// Something of ours is missing.
    Unavailable,
    /// The upstream's trouble.
    Upstream,
    /// An input that makes no sense.
    Invalid,
    /// The state does not allow it.
    Conflict,
    /// No rule would open it.
    NoWay,
    /// A review that has to be signed.
    PasskeyNeeded,
    /// A body that is not JSON by its own account.
    UnsupportedMediaType,
    /// Our fault.
    Internal,
}

/// What there is to say about a kind of problem.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The last part of the problem's type.
    pub code: &'static str,
    /// The same for every occurrence.
    pub title: &'static str,
    /// The HTTP status that it usually comes with.
    pub status: u16,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Malformed,
        Self::MethodNotAllowed,
        Self::Unauthenticated,
        Self::BadCredentials,
        Self::CrossOrigin,
        Self::Denied,
        Self::Requestable,
        Self::Declined,
        Self::NotFound,
        Self::TooLarge,
        Self::TooSlow,
        Self::Misdirected,
        Self::NotRepresentable,
        Self::SpeaksTcp,
        Self::Limited,
        Self::Unavailable,
        Self::Upstream,
        Self::Invalid,
        Self::Conflict,
        Self::NoWay,
        Self::PasskeyNeeded,
        Self::UnsupportedMediaType,
        Self::Internal,
    ];

    /// The kind with this code.
    pub fn lookup(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.facts().code == code)
    }

    /// The kind that a bare status stands for, where a library chose the status.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            400 => Some(Self::Malformed),
            405 => Some(Self::MethodNotAllowed),
            413 => Some(Self::TooLarge),
            415 => Some(Self::UnsupportedMediaType),
            422 => Some(Self::NotRepresentable),
            _ => None,
        }
    }

    /// Everything about it.
    pub const fn facts(self) -> Facts {
        match self {
            Self::Malformed
            | Self::MethodNotAllowed
            | Self::TooLarge
            | Self::TooSlow
            | Self::Misdirected
            | Self::NotRepresentable
            | Self::SpeaksTcp
            | Self::Invalid
            | Self::Conflict
            | Self::UnsupportedMediaType => self.of_the_request(),
            Self::Unauthenticated
            | Self::BadCredentials
            | Self::CrossOrigin
            | Self::Denied
            | Self::Requestable
            | Self::NotFound
            | Self::NoWay => self.of_access(),
            Self::Declined | Self::PasskeyNeeded => self.of_reviews(),
            Self::Limited | Self::Unavailable | Self::Upstream | Self::Internal => self.of_ours(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a line or two for each kind")]
    const fn of_the_request(self) -> Facts {
        match self {
            Self::MethodNotAllowed => facts(
                "method-not-allowed",
                "Method not allowed",
                405,
                "This path is served, and not with this method; or it is a method that is never forwarded.",
                "Look at the Allow header of the answer, or at the service's own documentation.",
            ),
            Self::TooLarge => facts(
                "too-large",
                "Too large",
                413,
                "The head or the body of the request is over a limit.",
                "Send less at once. The detail of the answer says which limit it was.",
            ),
            Self::TooSlow => facts(
                "too-slow",
                "The request is too slow",
                408,
                "The gate waited for the body, and next to nothing of it came.",
                "Send it again, faster. The operator can allow more time with limits.body.",
            ),
            Self::Misdirected => facts(
                "misdirected",
                "Misdirected request",
                421,
                "The connection was made for another host than the one that the request names.",
                "Open a new connection for this host.",
            ),
            Self::NotRepresentable => facts(
                "not-representable",
                "A value does not fit its type",
                422,
                "A value in the request is not one that its declared type can hold, so policy could not be asked about it.",
                "Compare the request with the API document; the detail of the answer names the value.",
            ),
            Self::SpeaksTcp => facts(
                "speaks-tcp",
                "This service speaks TCP",
                426,
                "The host belongs to a service that speaks TCP and no HTTP, so a request to it leads nowhere.",
                "Open a connection with `portcullis connect`, and point your tool at the address that it prints.",
            ),
            Self::Invalid => facts(
                "invalid",
                "A value makes no sense",
                400,
                "A field of the request has a value that cannot be used.",
                "The answer names the field, and what it takes.",
            ),
            Self::Conflict => facts(
                "conflict",
                "The state does not allow it",
                409,
                "What you wanted to change has moved on: it was answered, withdrawn, ended or replaced in the meantime.",
                "Look at it again as it is now, for example with portcullis requests or portcullis grants.",
            ),
            Self::UnsupportedMediaType => facts(
                "unsupported-media-type",
                "Unsupported media type",
                415,
                "The body does not say that it is JSON.",
                "Send it with Content-Type: application/json.",
            ),
            _ => facts(
                "malformed",
                "Malformed request",
                400,
                "The request cannot be read in exactly one way, so it is not read at all.",
                "Most often a proxy or a hand-written client in front wrote it; the detail of the answer says what is wrong.",
            ),
        }
    }

    const fn of_access(self) -> Facts {
        match self {
            Self::Unauthenticated => facts(
                "unauthenticated",
                "Sign in first",
                401,
                "No credentials came with the request.",
                "People run portcullis login, and then portcullis curl in place of curl. Workloads send their token as Authorization: Bearer.",
            ),
            Self::BadCredentials => facts(
                "bad-credentials",
                "The credentials are worth nothing here",
                401,
                "The sign-in or token is unknown, has ended, or was made for somewhere else.",
                "Run portcullis login again. For a workload, check issuer, audience and expiry of its token.",
            ),
            Self::CrossOrigin => facts(
                "cross-origin",
                "A page of another origin asked",
                403,
                "A page of one origin used a browser's identity at another.",
                "If the page is meant to do that, the service's owner lists its origin under cors.",
            ),
            Self::Requestable => facts(
                "requestable",
                "Access can be asked for",
                403,
                "Policy does not permit this as it stands, and would under a grant that you can ask for.",
                "Run the portcullis ask command that the answer names. It shows what would open the gate, and takes you there.",
            ),
            Self::NotFound => facts(
                "not-found",
                "Not found",
                404,
                "There is nothing here, or nothing for you; the two are not told apart.",
                "Check the host, the path or the id. portcullis services lists what you can reach.",
            ),
            Self::NoWay => facts(
                "no-way",
                "No rule would open it",
                403,
                "There is no rule under which a grant would permit this to you, or not the one that you named.",
                "portcullis policy explain says which policies decide. Another rule may be listed in the answer.",
            ),
            _ => facts(
                "denied",
                "Denied",
                403,
                "Policy says no, and nothing that you could ask for would change that.",
                "portcullis policy explain says which policies decide. The owner of the service can change them.",
            ),
        }
    }

    const fn of_reviews(self) -> Facts {
        match self {
            Self::PasskeyNeeded => facts(
                "passkey-needed",
                "A passkey is needed",
                403,
                "Policy lets you review this if one of your passkeys signs your answer. The answer carries the challenge to sign; it is good for five minutes, once, and for this answer only.",
                "A passkey signs in a browser, on a page of this server: give its answer to the challenge with the same review, as the member passkey. If you have none yet, register one with /v1/passkeys/options and /v1/passkeys, within ten minutes of signing in.",
            ),
            _ => facts(
                "declined",
                "A reviewer said no",
                403,
                "The request waited at the gate, and its access request was declined. It was not sent, and it will not be.",
                "The detail of the answer says why. Talk to the reviewer before you send it again.",
            ),
        }
    }

    const fn of_ours(self) -> Facts {
        match self {
            Self::Limited => facts(
                "limited",
                "Too many for now",
                429,
                "There were too many of these in a short time.",
                "Wait for as many seconds as the Retry-After header says.",
            ),
            Self::Unavailable => facts(
                "unavailable",
                "Not available at the moment",
                503,
                "Something that is needed to decide or to keep the record does not answer. Nothing is forwarded without it.",
                "Try again shortly. If it stays, /readyz of the control server says what is missing.",
            ),
            Self::Upstream => facts(
                "upstream",
                "The service does not answer",
                502,
                "The gate let the request through, and the service behind it could not be reached, broke off, was too slow, or has as much to do as its limits allow.",
                "Ask the owner of the service. Whether the request had an effect is not known if it broke off.",
            ),
            _ => facts(
                "internal",
                "Something went wrong on the server",
                500,
                "A fault of ours. The cause is in the server's log, under the request id of the answer.",
                "Tell the operator the request id.",
            ),
        }
    }
}

const fn facts(
    code: &'static str,
    title: &'static str,
    status: u16,
    meaning: &'static str,
    remedy: &'static str,
) -> Facts {
    Facts { code, title, status, meaning, remedy }
}

#[cfg(test)]
mod tests {
    use portcullis_model::{
        BundleDigest, Refusal,
        refusal::{Declined, Denial, Requestable, Unavailable, UpstreamTrouble},
    };

    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<_> =
            ProblemKind::ALL.iter().map(|kind| kind.facts().code).collect();
        assert_eq!(codes.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn every_refusal_of_the_gate_has_a_page() {
        let service: portcullis_model::ServiceName = "payments".parse().unwrap();
        let refusals = [
            Refusal::Malformed(""),
            Refusal::MethodNotAllowed,
            Refusal::Unauthenticated,
            Refusal::BadCredentials(""),
            Refusal::CrossOrigin,
            Refusal::Denied(Denial { service: service.clone(), operation: None }),
            Refusal::Requestable(Box::new(Requestable {
                service: service.clone(),
                operation: "payments.refund".parse().unwrap(),
                ways: Vec::new(),
                digest: None,
                id: None,
                bundle: BundleDigest("sha256:0".into()),
                waited: None,
            })),
            Refusal::Declined(Box::new(Declined {
                service,
                operation: "payments.refund".parse().unwrap(),
                why: String::new(),
            })),
            Refusal::NotFound,
            Refusal::TooLarge(""),
            Refusal::HeadTooLarge(""),
            Refusal::TooSlow,
            Refusal::Misdirected,
            Refusal::NotRepresentable(String::new()),
            Refusal::SpeaksTcp("db".parse().unwrap()),
            Refusal::Limited { retry_after: 1 },
            Refusal::Unavailable(Unavailable::Store),
            Refusal::Upstream(UpstreamTrouble::Broken),
        ];
        for refusal in refusals {
            assert!(ProblemKind::lookup(refusal.code()).is_some(), "{}", refusal.code());
        }
    }
}
