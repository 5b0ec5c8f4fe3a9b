//! The span of one call, if it is sampled.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use portcullis_model::{
    Span, SpanKind, SpanValue, TraceParent,
    trace::{SpanId, TraceId, known_method},
};

use crate::parts::ApiParts;

const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A sampled call under way.
#[derive(Debug)]
pub(crate) struct Call {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    began: Timestamp,
    method: &'static str,
    /// The route as it is documented, never the path that was asked for.
    route: Option<String>,
    request: String,
}

impl Call {
    /// Begins, or goes on with the caller's trace. `None` if it is not sampled.
    pub(crate) fn begin(api: &ApiParts, id: &str, request: &Request) -> Option<Self> {
        let traces = api.traces.as_ref()?;
        let sent = sent(request.headers());
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        // Asked every few seconds by what watches the process.
        if sent.is_none() && route.is_some_and(|route| PROBES.contains(&route)) {
            return None;
        }
        let mut random = [0; 24];
        api.entropy.fill(&mut random);
        let trace = TraceParent::next(sent.as_ref(), random);
        traces.samples(&trace, sent.as_ref()).then(|| Self {
            trace: trace.trace_id_bytes(),
            id: trace.span_id(),
            parent: sent.map(|sent| sent.span_id()),
            began: api.clock.now(),
            method: known_method(request.method().as_str()),
            route: route.map(str::to_owned),
            request: id.to_owned(),
        })
    }

    /// It is answered.
    pub(crate) fn answered(self, api: &ApiParts, status: StatusCode) {
        let Some(traces) = &api.traces else { return };
        let text = |text: String| SpanValue::Text(text.into());
        let mut attributes = vec![
            ("http.request.method", SpanValue::Text(self.method.into())),
            ("http.response.status_code", SpanValue::Number(status.as_u16().into())),
            ("portcullis.request", text(self.request)),
        ];
        let name = match self.route {
            Some(route) => {
                let name = format!("{} {route}", self.method).into();
                attributes.push(("http.route", text(route)));
                name
            }
            None => self.method.into(),
        };
        let failed = status.is_server_error();
        if failed {
            attributes.push(("error.type", text(status.as_u16().to_string())));
        }
        traces.take(vec![Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            name,
            kind: SpanKind::Server,
            began: self.began,
            ended: api.clock.now(),
            attributes,
            failed,
        }]);
    }
}

/// What one caller sent; of several headers, none counts.
fn sent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceParent::read(value.as_bytes()),
        (None | Some(_), _) => None,
    }
}
