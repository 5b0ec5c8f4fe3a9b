//! One evaluation by Cedar, read with our stricter rules: a permit that errs does not apply, and a
//! forbid that errs denies. Cedar itself skips both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cedar_policy::{AuthorizationError, Decision, Entities, PolicySet, Request};
use portcullis_model::{Incident, PolicyId};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Bundle, Context,
    facts::{NoContext, cedar_context},
    slice::Slice,
};

/// The longest that one evaluation may take of a core. Policies are bounded when they load, but what
/// they compare is the client's. Code that is not optimised takes many times as long.
const LONGEST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 200 } else { 10 });

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Some permit applies, and no forbid does or errs.
    pub(crate) permitted: bool,
    /// A forbid could not be evaluated.
    pub(crate) erring_forbid: bool,
    /// It took longer than a decision may, and denies whatever it found.
    pub(crate) took_too_long: bool,
    /// The determining policies: those that permit, or those that forbid.
    pub(crate) policies: Arc<[PolicyId]>,
}

impl Findings {
    /// Nothing permits.
    pub(crate) fn none() -> Self {
        Self { took_too_long: false, permitted: false, erring_forbid: false, policies: [].into() }
    }

    /// Some forbid applies or errs, or nobody waited to see whether one does.
    pub(crate) fn forbids(&self) -> bool {
        let stands = self.erring_forbid || self.took_too_long || !self.policies.is_empty();
        !self.permitted && stands
    }
}

/// Evaluates the standing permits and all forbids of `slice`.
pub(crate) fn evaluate_standing(bundle: &Bundle, slice: &Slice, context: &Context) -> Findings {
    if let Some(request) = &slice.bare {
        return put(bundle, &slice.standing, request, &slice.entities);
    }
    let context = cedar_context(&slice.clocks, &slice.reads, context, None);
    evaluate(bundle, slice, &slice.standing, context, None)
}

/// Evaluates `policies`, which belong to `slice`, under a grant that is for `incident`.
pub(crate) fn evaluate(
    bundle: &Bundle,
    slice: &Slice,
    policies: &PolicySet,
    context: Result<cedar_policy::Context, NoContext>,
    incident: Option<&Incident>,
) -> Findings {
    let request =
        context.and_then(|context| Ok((slice.request(context)?, slice.entities_with(incident)?)));
    match request {
        Ok((request, entities)) => put(bundle, policies, &request, &entities),
        Err(error) => {
            tracing::error!(%error, action = %slice.action, "a query cannot be put to Cedar; denied");
            Findings::none()
        }
    }
}

/// What `work` gives, and how long it took if that was too long. What counts is the time that this
/// thread spent on it, not that for which others had its core, or a busy machine would deny what an
/// idle one permits. But asking for it is a system call, and for the time of day it is none: only what
/// seems to take too long is done once more, and timed.
fn timed<T>(work: impl Fn() -> T) -> (T, Option<Duration>) {
    let begun = Instant::now();
    let done = work();
    if begun.elapsed() <= LONGEST {
        return (done, None);
    }
    let begun = spent();
    let done = work();
    let took = spent().saturating_sub(begun);
    (done, (took > LONGEST).then_some(took))
}

fn spent() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

fn put(bundle: &Bundle, policies: &PolicySet, request: &Request, entities: &Entities) -> Findings {
    let (response, took) = timed(|| bundle.authorizer.is_authorized(request, policies, entities));
    if let Some(took) = took {
        bundle.evaluation_errors().count_too_long();
        let (action, most) = (request.action().map(ToString::to_string), LONGEST.as_millis());
        tracing::warn!(action, ?took, "an evaluation takes longer than {most} ms; denied");
        return Findings { took_too_long: true, ..Findings::none() };
    }
    let erring = erring_forbids(bundle, response.diagnostics().errors());
    let reasons = response.diagnostics().reason();
    let known = |id: &cedar_policy::PolicyId| {
        bundle.policies().lookup(id.as_ref()).map(|(_, policy)| policy.id.clone())
    };
    let allowed = response.decision() == Decision::Allow;
    let mut policies: Vec<PolicyId> = if allowed && !erring.is_empty() {
        Vec::new()
    } else {
        reasons.filter_map(known).collect()
    };
    let (permitted, erring_forbid) = (allowed && erring.is_empty(), !erring.is_empty());
    policies.extend(erring);
    policies.sort();
    Findings { took_too_long: false, permitted, erring_forbid, policies: policies.into() }
}

/// Counts and logs what could not be evaluated; returns the forbids among it.
fn erring_forbids<'a>(
    bundle: &Bundle,
    errors: impl Iterator<Item = &'a AuthorizationError>,
) -> Vec<PolicyId> {
    let mut forbids = Vec::new();
    for error in errors {
        let AuthorizationError::PolicyEvaluationError(error) = error;
        let id = error.policy_id();
        match bundle.policies().lookup(id.as_ref()) {
            Some((_, policy)) if !policy.is_forbid() => {
                bundle.evaluation_errors().count_permit();
                tracing::warn!(policy = %policy.id, error = %error.inner(), "a permit cannot be evaluated; it does not apply");
            }
            Some((_, policy)) => {
                bundle.evaluation_errors().count_forbid();
                tracing::warn!(policy = %policy.id, error = %error.inner(), "a forbid cannot be evaluated; denied");
                forbids.push(policy.id.clone());
            }
            None => tracing::error!(policy = %id, "an unknown policy was evaluated"),
        }
    }
    forbids
}
