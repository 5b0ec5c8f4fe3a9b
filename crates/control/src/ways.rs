//! What would open an operation for somebody, asked ahead of the request itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{IncidentId, OperationName, Principal, Resource, Way};
use portcullis_policy::{
    Answer, Context, DecisionCache, Denial, Known, Query, Snapshot, Subject, Verdict,
};

/// What is known ahead of a request: who, and how they authenticated. The rest is unknown, which is
/// not absent.
pub(crate) fn ahead(
    now: Timestamp,
    auth_method: &'static str,
    authenticated_at: Timestamp,
) -> Context {
    Context {
        now,
        source: Known::Unknown,
        auth_method,
        auth_age: now.duration_since(authenticated_at).max(SignedDuration::ZERO),
        request: Known::Unknown,
        http: Known::Unknown,
        params: Known::Unknown,
        body: Known::Unknown,
        seen_in: None,
    }
}

/// Asks the PDP about one operation.
pub(crate) fn decide(
    snapshot: &Snapshot,
    subject: &Subject,
    operation: &OperationName,
    resource: &Resource,
    context: &Context,
    digest: Option<&str>,
    cache: &mut DecisionCache,
) -> Verdict {
    let query = Query { subject, operation, resource, context, digest, incident: None, only: None };
    snapshot.decide(&query, cache)
}

/// What stands between somebody and an operation, their grants aside.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing: standing policy permits it.
    Open,
    /// These ways.
    Ways(Vec<Way>),
    /// It is permitted to see it under these conditions, which the gate checks: there is nothing to ask for.
    Checked(Vec<String>),
    /// No way.
    Closed,
    /// Nothing here is for them.
    Invisible,
}

impl Standing {
    /// What is asked for where `self` and `other` are wanted at once: what can be, before what need not be,
    /// before what cannot.
    pub(crate) fn or_missing(self, other: Self) -> Self {
        let rank = |standing: &Self| match standing {
            Self::Ways(_) => 0,
            Self::Open => 1,
            Self::Checked(_) => 2,
            Self::Closed => 3,
            Self::Invisible => 4,
        };
        if rank(&other) < rank(&self) { other } else { self }
    }
}

/// The ways to an operation as policy has them now, for `incident` if one is named. Grants already held
/// play no part: a way is the same whether or not its holder has been down it before.
pub(crate) fn standing(
    snapshot: &Snapshot,
    principal: &Arc<Principal>,
    operation: &OperationName,
    resource: &Resource,
    context: &Context,
    incident: Option<&IncidentId>,
) -> Standing {
    let subject = Subject::new(Arc::clone(principal));
    let bare = snapshot.clone().without_grants();
    let mut cache = DecisionCache::default();
    let query = Query {
        subject: &subject,
        operation,
        resource,
        context,
        digest: None,
        incident,
        only: None,
    };
    let Verdict { answer, to_be_checked, .. } = bare.decide(&query, &mut cache);
    let is_checked = operation.revealed().is_some() && !to_be_checked.is_empty();
    match answer {
        Answer::Permit(_) => Standing::Open,
        Answer::Requestable(ways) => Standing::Ways(ways),
        Answer::Deny(Denial::Invisible) => Standing::Invisible,
        Answer::Deny(Denial::ByPolicy) if is_checked => Standing::Checked(to_be_checked),
        Answer::Deny(Denial::ByPolicy | Denial::ErroringForbid | Denial::TookTooLong) => {
            Standing::Closed
        }
    }
}
