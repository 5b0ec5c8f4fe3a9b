//! Asks the decision point, once per request and again for as long as a connection lives.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use portcullis_model::{
    GrantId, OperationName, Refusal, Resource,
    refusal::{self, Unavailable},
};
use portcullis_policy::{
    Answer, Context, Country, Denial, Known, Pass, Query, Snapshot, Source, Subject, Verdict,
    context::Http,
};

use crate::{
    canonical::{Canonical, Speaks},
    core::Core,
    exchange::Exchange,
    identify::Caller,
    inspect::Facts,
    ports::NoDatabase,
    route::Operation,
    spans::Phase,
};

/// An access query, kept so that it can be asked again.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) subject: Arc<Subject>,
    pub(crate) operation: OperationName,
    pub(crate) resource: Resource,
    pub(crate) context: Context,
    pub(crate) digest: Option<String>,
    /// The only grant that may open it, if a grant token asks.
    pub(crate) only: Option<GrantId>,
}

impl Question {
    /// Asks `snapshot`, at the time that the context says.
    pub(crate) fn ask(&self, core: &Core, snapshot: &Snapshot) -> Verdict {
        snapshot.decide(&self.query(), &mut core.decisions.borrow_mut())
    }

    /// Asks for nothing but a pass.
    pub(crate) fn pass(&self, core: &Core, snapshot: &Snapshot) -> Option<Pass> {
        snapshot.pass(&self.query(), &mut core.decisions.borrow_mut())
    }

    fn query(&self) -> Query<'_> {
        Query {
            subject: &self.subject,
            operation: &self.operation,
            resource: &self.resource,
            context: &self.context,
            digest: self.digest.as_deref(),
            incident: None,
            only: self.only,
        }
    }

    /// Before it is asked again: what was opened when no policy asked for a country has none, and that
    /// is not the same as being nowhere.
    pub(crate) fn locate(&mut self, core: &Core, snapshot: &Snapshot) -> Result<(), NoDatabase> {
        if let Known::Value(source) = &mut self.context.source {
            source.country = located(core, snapshot, &self.operation, source.ip)?;
        }
        Ok(())
    }
}

/// Decides a request, or a connection without one. Only a permit comes back as something that can be forwarded with.
pub(crate) fn decide(
    exchange: &mut Exchange,
    caller: &Caller,
    operation: Operation,
    request: Option<&Canonical>,
    facts: Facts,
) -> Result<(Pass, Rc<Question>), Refusal> {
    exchange.spans.enter(Phase::Decide);
    let started = std::time::Instant::now();
    let authenticated = &caller.authenticated;
    let ip = exchange.peer.ip;
    let country = located(&exchange.core, &exchange.snapshot, &operation.name, ip);
    let country = country.map_err(no_answer)?;
    exchange.country = country;
    let context = Context {
        now: exchange.now,
        source: Known::Value(Source { ip, country }),
        auth_method: authenticated.method().as_str(),
        auth_age: exchange.now.duration_since(authenticated.authenticated_at()),
        request: Known::Value(exchange.id),
        http: Known::Value(request.and_then(|request| http(exchange, request))),
        params: Known::Value(facts.params),
        body: Known::Value(facts.body),
        seen_in: None,
    };
    let question = Question {
        subject: Arc::clone(&caller.identity.subject),
        operation: operation.name,
        resource: operation.resource,
        context,
        digest: facts.digest,
        only: authenticated.grant(),
    };
    let verdict = question.ask(&exchange.core, &exchange.snapshot);
    exchange.core.metrics.decided(started.elapsed(), exchange.sampled());
    let pass = permitted(exchange, &question, verdict)?;
    Ok((pass, Rc::new(question)))
}

/// Where `ip` is, if a policy of `snapshot` about `operation` asks. What no database says is absent; a
/// database that is not there is no answer.
fn located(
    core: &Core,
    snapshot: &Snapshot,
    operation: &OperationName,
    ip: IpAddr,
) -> Result<Option<Country>, NoDatabase> {
    let bundle = snapshot.bundle();
    if !bundle.asks_country() || !bundle.demands(operation).country {
        return Ok(None);
    }
    core.parts.countries.country(ip)
}

/// What a request gets whose country nobody can tell.
pub(crate) fn no_answer(_: NoDatabase) -> Refusal {
    Refusal::Unavailable(Unavailable::Internal)
}

/// What policies may read of HTTP: nothing of a request that only opens a connection.
fn http(exchange: &Exchange, request: &Canonical) -> Option<Http> {
    (request.speaks != Speaks::Tcp).then(|| Http {
        method: exchange.core.method_name(&request.method),
        path: request.path().into(),
        host: request.authority.shared_host(),
    })
}

/// Grants that end unused live on by their use.
pub(crate) fn used(core: &Core, pass: &Pass) {
    let Some(grant) = pass.grant().filter(|grant| grant.idle.is_some()) else { return };
    if core.grants_used.is_new(core, grant.id) {
        core.parts.consumption.used(grant.id);
    }
}

/// The pass of a permit, or the refusal that a verdict is.
pub(crate) fn permitted(
    exchange: &mut Exchange,
    question: &Question,
    verdict: Verdict,
) -> Result<Pass, Refusal> {
    exchange.policies = verdict.policies;
    let service = || question.resource.service.clone();
    match verdict.answer {
        Answer::Permit(pass) => {
            exchange.grant = pass.grant().map(|grant| grant.id);
            Ok(pass)
        }
        Answer::Requestable(ways) => {
            let counted = ways.iter().any(|way| way.max_uses.is_some());
            Err(Refusal::Requestable(Box::new(refusal::Requestable {
                service: service(),
                operation: question.operation.clone(),
                ways,
                digest: question.digest.clone().filter(|_| counted),
                id: None,
                bundle: exchange.snapshot.stamp().digest.clone(),
                waited: None,
            })))
        }
        Answer::Deny(Denial::Invisible) => Err(Refusal::NotFound),
        Answer::Deny(Denial::ByPolicy | Denial::ErroringForbid | Denial::TookTooLong) => {
            let operation = Some(question.operation.clone());
            Err(Refusal::Denied(refusal::Denial { service: service(), operation }))
        }
    }
}
