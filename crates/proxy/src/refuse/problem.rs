//! Refusals as problem details (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use portcullis_model::{
    Problem, Refusal,
    problem::PROBLEM_JSON,
    refusal::{Unavailable, UpstreamTrouble, Waited},
};

use crate::{body::DownBody, exchange::Exchange};

/// The status of each refusal.
pub(crate) const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::Unauthenticated | Refusal::BadCredentials(_) => StatusCode::UNAUTHORIZED,
        Refusal::CrossOrigin
        | Refusal::Denied(_)
        | Refusal::Requestable(_)
        | Refusal::Declined(_) => StatusCode::FORBIDDEN,
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        Refusal::NotRepresentable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::SpeaksTcp(_) => StatusCode::UPGRADE_REQUIRED,
        Refusal::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable(Unavailable::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Unavailable(_) | Refusal::Upstream(UpstreamTrouble::Overloaded) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::Upstream(UpstreamTrouble::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Upstream(
            UpstreamTrouble::Unreachable | UpstreamTrouble::Broken | UpstreamTrouble::Opaque,
        ) => StatusCode::BAD_GATEWAY,
    }
}

/// What is the same for every occurrence.
const fn title(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed(_) => "The request reads in more than one way",
        Refusal::MethodNotAllowed => "The method is not forwarded",
        Refusal::Unauthenticated => "Credentials are needed",
        Refusal::BadCredentials(_) => "The credentials are worth nothing",
        Refusal::CrossOrigin => "Another origin used this identity",
        Refusal::Denied(_) => "Access is denied",
        Refusal::Requestable(_) => "Access can be asked for",
        Refusal::Declined(_) => "A reviewer said no",
        Refusal::NotFound => "There is nothing here",
        Refusal::TooLarge(_) | Refusal::HeadTooLarge(_) => "The request is too large",
        Refusal::TooSlow => "The request is too slow",
        Refusal::Misdirected => "The connection was made for another host",
        Refusal::NotRepresentable(_) => "A value does not fit its declared type",
        Refusal::SpeaksTcp(_) => "This service speaks TCP",
        Refusal::Limited { .. } => "Too many requests",
        Refusal::Unavailable(Unavailable::Internal) => "Something went wrong on the server",
        Refusal::Unavailable(_) => "The gate cannot decide at the moment",
        Refusal::Upstream(UpstreamTrouble::Overloaded) => "The upstream has enough to do",
        Refusal::Upstream(_) => "The upstream did not answer",
    }
}

/// What is wrong this time, and what to do.
fn detail(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::Malformed(why)
        | Refusal::BadCredentials(why)
        | Refusal::TooLarge(why)
        | Refusal::HeadTooLarge(why) => (*why).to_owned(),
        Refusal::MethodNotAllowed => "use one of the methods in Allow".to_owned(),
        Refusal::Unauthenticated => "sign in with `portcullis login`, or send a token".to_owned(),
        Refusal::Denied(denial) => match &denial.operation {
            Some(operation) => format!("{operation} on {} is not permitted", denial.service),
            None => format!("{} has no such operation", denial.service),
        },
        Refusal::Requestable(what) => {
            let needs = format!("{} on {} needs a grant", what.operation, what.service);
            match what.waited {
                None => needs,
                Some(Waited { time, .. }) => {
                    format!("{needs}; it waited for {}s and nobody answered", time.as_secs())
                }
            }
        }
        Refusal::Declined(what) => {
            format!("{} on {} was declined: {}", what.operation, what.service, what.why)
        }
        Refusal::SpeaksTcp(service) => format!(
            "{service} speaks no HTTP; open a connection to it with `portcullis connect {service}`"
        ),
        Refusal::NotRepresentable(why) => why.clone(),
        Refusal::TooSlow => "too little of the body came while it was waited for".to_owned(),
        Refusal::Unavailable(what) => match what {
            Unavailable::Record => "the record cannot be written, so nothing is forwarded",
            Unavailable::Store => "the store does not answer; try again",
            Unavailable::Issuer => "the token's issuer cannot be asked at the moment; try again",
            Unavailable::Overloaded => "as much is under way as there may be; try again",
            Unavailable::ShuttingDown => "the gate is shutting down",
            Unavailable::Internal => "a fault of the gate's own",
        }
        .to_owned(),
        Refusal::Upstream(trouble) => match trouble {
            UpstreamTrouble::Unreachable => "the upstream cannot be reached",
            UpstreamTrouble::Broken => "the upstream broke off or answered no HTTP",
            UpstreamTrouble::TimedOut => "the upstream did not answer in time",
            UpstreamTrouble::Opaque => {
                "the upstream's answer may hold sensitive data and cannot be inspected, so nothing of it is passed on"
            }
            UpstreamTrouble::Overloaded => {
                "as much is under way to the upstream as its limits allow; nothing was sent, try again"
            }
        }
        .to_owned(),
        Refusal::CrossOrigin
        | Refusal::NotFound
        | Refusal::Misdirected
        | Refusal::Limited { .. } => return None,
    })
}

/// A refusal as a problem.
pub(crate) fn of(exchange: &Exchange, refusal: &Refusal) -> Problem {
    let request = exchange.id_header.to_str().ok().map(str::to_owned);
    Problem { request, ..describe(&exchange.core.config.control_url, refusal) }
}

/// A refusal as a problem, apart from the request that it answers.
pub(super) fn describe(control_url: &str, refusal: &Refusal) -> Problem {
    let base = control_url.trim_end_matches('/');
    let mut problem = Problem {
        kind: format!("{base}/problems/{}", refusal.code()),
        title: title(refusal).to_owned(),
        status: status(refusal).as_u16(),
        detail: detail(refusal),
        ..Problem::default()
    };
    match refusal {
        Refusal::Denied(denial) => {
            problem.service = Some(denial.service.to_string());
            problem.operation = denial.operation.as_ref().map(ToString::to_string);
        }
        Refusal::Requestable(what) => {
            problem.service = Some(what.service.to_string());
            problem.operation = Some(what.operation.to_string());
            problem.digest.clone_from(&what.digest);
            problem.ways.clone_from(&what.ways);
            if let Some(id) = &what.id {
                problem.refusal = Some(id.to_string());
                problem.ask = Some(format!("portcullis ask {id}"));
                problem.ask_url = Some(format!("{base}/ask/{id}"));
            }
        }
        Refusal::Declined(what) => {
            problem.service = Some(what.service.to_string());
            problem.operation = Some(what.operation.to_string());
        }
        Refusal::SpeaksTcp(service) => problem.service = Some(service.to_string()),
        Refusal::Malformed(_)
        | Refusal::MethodNotAllowed
        | Refusal::Unauthenticated
        | Refusal::BadCredentials(_)
        | Refusal::CrossOrigin
        | Refusal::NotFound
        | Refusal::TooLarge(_)
        | Refusal::HeadTooLarge(_)
        | Refusal::TooSlow
        | Refusal::Misdirected
        | Refusal::NotRepresentable(_)
        | Refusal::Limited { .. }
        | Refusal::Unavailable(_)
        | Refusal::Upstream(_) => {}
    }
    problem
}

/// A problem as JSON.
pub(super) fn response(problem: &Problem) -> Response<DownBody> {
    let json = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(DownBody::whole(Bytes::from(json)));
    let kind = HeaderValue::from_static(PROBLEM_JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
