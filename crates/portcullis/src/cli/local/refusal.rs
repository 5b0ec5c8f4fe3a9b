//! A refusal of the gate, as its mark, its answer and `grpc-message` say it.
//!
//! Believed is what the gate has marked: nothing that a service answers is a refusal, however alike it looks.

use http::{HeaderMap, HeaderName, StatusCode};
use percent_encoding::percent_decode_str;
use portcullis_model::{OperationName, Problem, REFUSAL_HEADER, RefusalMark};

/// The gate said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// By this mark.
    pub(super) mark: RefusalMark,
    /// In these words, with what else there was.
    pub(super) problem: Problem,
    /// As the tool's protocol says it: a status, or a code where that is always 200.
    pub(super) status: String,
}

/// The gate's mark, if it refuses.
pub(super) fn mark(headers: &HeaderMap) -> Option<RefusalMark> {
    const REFUSAL: HeaderName = HeaderName::from_static(REFUSAL_HEADER);
    headers.get(REFUSAL)?.to_str().ok()?.parse().ok()
}

impl Refused {
    /// As HTTP says it: `body` is a problem, or a page or nothing.
    pub(super) fn of_answer(mark: RefusalMark, status: StatusCode, body: &[u8]) -> Self {
        let problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
            title: mark.code.clone(),
            status: status.as_u16(),
            ..Problem::default()
        });
        Self { mark, problem, status: status.as_u16().to_string() }
    }

    /// As gRPC says it: what is refused, and then how to ask, which is said anyway.
    pub(super) fn of_call(mark: RefusalMark, message: Option<&str>) -> Self {
        let message = message.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let what = message.as_deref().and_then(|text| text.split("; portcullis ask ").next());
        let operation = what.and_then(|what| what.split(' ').next());
        let operation = operation.filter(|name| name.parse::<OperationName>().is_ok());
        let problem = Problem {
            title: mark.code.clone(),
            operation: operation.map(str::to_owned),
            detail: what.map(str::to_owned),
            ..Problem::default()
        };
        let status = mark.code.clone();
        Self { mark, problem, status }
    }

    /// What is wrong, for people.
    pub(super) fn words(&self) -> &str {
        self.problem.detail.as_deref().unwrap_or(&self.problem.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requestable() -> RefusalMark {
        "requestable;id=\"7K2M\"".parse().unwrap()
    }

    #[test]
    fn a_refusal_of_a_call_names_what_can_be_asked_for() {
        let message = "payments.Refund on payments needs a grant; portcullis ask 7K2M";
        let refused = Refused::of_call(requestable(), Some(message));
        assert_eq!(refused.problem.operation.as_deref(), Some("payments.Refund"));
        assert_eq!(refused.words(), "payments.Refund on payments needs a grant");
        let refused = Refused::of_call(requestable(), Some("%E2%80%AE on payments"));
        assert_eq!(refused.problem.operation, None);
        assert_eq!(Refused::of_call(requestable(), None).words(), "requestable");
    }

    #[test]
    fn a_page_is_a_refusal_by_its_mark_and_a_problem_is_none_without_one() {
        let refused = Refused::of_answer(requestable(), StatusCode::FORBIDDEN, b"<html>");
        assert_eq!((refused.words(), refused.status.as_str()), ("requestable", "403"));
        assert_eq!(mark(&HeaderMap::new()), None);
        let mut headers = HeaderMap::new();
        headers.insert(REFUSAL_HEADER, "requestable;id=\"7K2M\"".parse().unwrap());
        assert_eq!(mark(&headers), Some(requestable()));
    }
}
