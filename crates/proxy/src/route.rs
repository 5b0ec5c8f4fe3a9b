//! Where a request leads: to a service, perhaps one addressed instance, and one operation.

use portcullis_model::{InstanceName, OperationName, Refusal, Resource, ServiceName, refusal};
use portcullis_policy::{Answer, Context, Demands, Denial, Known, catalog::Service};

use crate::{
    canonical::{
        Canonical, Speaks,
        single::{PORTCULLIS_INSTANCE, Present},
    },
    decide::Question,
    exchange::Exchange,
    identify::Caller,
    reveal::Sight,
};

/// The service that a request is for, and the instance if it names one.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) service: ServiceName,
    pub(crate) instance: Option<InstanceName>,
}

/// The operation that a request is, and what must be read to decide it.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: OperationName,
    pub(crate) resource: Resource,
    pub(crate) demands: Demands,
    /// Names and raw values of path parameters.
    pub(crate) path_params: Vec<(String, String)>,
}

/// Routes by host and path, and by the instance that host or header address.
pub(crate) fn place(exchange: &mut Exchange, request: &mut Canonical) -> Result<Place, Refusal> {
    let catalog = exchange.snapshot.bundle().catalog();
    let routed =
        catalog.route(request.authority.host(), request.path()).ok_or(Refusal::NotFound)?;
    let source = routed.service.source();
    let mut instance = routed.instance.cloned();
    let named = request.present.has(Present::PORTCULLIS_INSTANCE);
    if named && let Some(named) = request.headers.remove(PORTCULLIS_INSTANCE) {
        let named: Option<InstanceName> = named.to_str().ok().and_then(|name| name.parse().ok());
        let known = named.filter(|name| source.instances.contains_key(name));
        let known = known.ok_or(Refusal::NotFound)?;
        if instance.as_ref().is_some_and(|by_host| *by_host != known) {
            return Err(Refusal::Malformed("host and header name two instances"));
        }
        instance = Some(known);
    }
    let service = exchange.core.names.service(&source.name);
    let (header_rules, sight) = (routed.service.header_rules().cloned(), Sight::of(routed.service));
    exchange.service = Some(service.clone());
    exchange.header_rules = header_rules;
    exchange.sight = sight;
    exchange.instance.clone_from(&instance);
    Ok(Place { service, instance })
}

/// The operation of a request. One that the service does not declare is denied, or not found by
/// whom the whole service is invisible to.
pub(crate) fn operation(
    exchange: &mut Exchange,
    caller: &Caller,
    place: &Place,
    request: &Canonical,
) -> Result<Operation, Refusal> {
    let bundle = exchange.snapshot.bundle();
    let service = bundle.catalog().service(&place.service).ok_or(Refusal::NotFound)?;
    let resource = Resource { service: place.service.clone(), instance: place.instance.clone() };
    let speaks_tcp = service.connect().is_some() || request.speaks == Speaks::Tcp;
    let matching = || service.matching(request.method.as_str(), request.path());
    let Some(matched) = (!speaks_tcp).then(matching).flatten() else {
        let snapshot = exchange.snapshot.clone();
        let catalog = snapshot.bundle().catalog();
        let service = catalog.service(&place.service).ok_or(Refusal::NotFound)?;
        return if speaks_tcp {
            connection(exchange, caller, service, resource, request.speaks == Speaks::Tcp)
        } else {
            Err(undeclared(exchange, caller, service, resource))
        };
    };
    let name = exchange.core.names.operation(matched.operation.name());
    let demands = bundle.demands(&name);
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    let path_params = if demands.params {
        matched.path_params.into_iter().map(owned).collect()
    } else {
        Vec::new()
    };
    exchange.operation = Some(name.clone());
    Ok(Operation { name, resource, demands, path_params })
}

/// What opens a connection to a TCP service, where one is asked for. HTTP to such a service, and a connection to
/// any other, is told so; to whom the whole service is invisible it is not there in either way.
pub(crate) fn connection(
    exchange: &mut Exchange,
    caller: &Caller,
    service: &Service,
    resource: Resource,
    asks_connection: bool,
) -> Result<Operation, Refusal> {
    let connect = service.connect();
    let Some(connect) = connect.filter(|_| asks_connection) else {
        let told = match connect {
            Some(_) => Refusal::SpeaksTcp(resource.service.clone()),
            None => {
                Refusal::Malformed("this service speaks HTTP: no connection can be opened to it")
            }
        };
        let seen = matches!(undeclared(exchange, caller, service, resource), Refusal::Denied(_));
        return Err(if seen { told } else { Refusal::NotFound });
    };
    let name = connect.name().clone();
    exchange.operation = Some(name.clone());
    let demands = exchange.snapshot.bundle().demands(&name);
    Ok(Operation { name, resource, demands, path_params: Vec::new() })
}

/// Whether a service exists for somebody is one answer for all of its operations, so any will do.
fn undeclared(
    exchange: &Exchange,
    caller: &Caller,
    service: &Service,
    resource: Resource,
) -> Refusal {
    let Some(any) = service.operations().next() else { return Refusal::NotFound };
    let context = Context {
        now: exchange.now,
        source: Known::Unknown,
        auth_method: caller.authenticated.method().as_str(),
        auth_age: exchange.now.duration_since(caller.authenticated.authenticated_at()),
        request: Known::Unknown,
        http: Known::Unknown,
        params: Known::Unknown,
        body: Known::Unknown,
        seen_in: None,
    };
    let service = resource.service.clone();
    let question = Question {
        subject: caller.identity.subject.clone(),
        operation: any.name().clone(),
        resource,
        context,
        digest: None,
        only: caller.authenticated.grant(),
    };
    match question.ask(&exchange.core, &exchange.snapshot).answer {
        Answer::Deny(Denial::Invisible) => Refusal::NotFound,
        Answer::Deny(Denial::ByPolicy | Denial::ErroringForbid | Denial::TookTooLong)
        | Answer::Permit(_)
        | Answer::Requestable(_) => Refusal::Denied(refusal::Denial { service, operation: None }),
    }
}
