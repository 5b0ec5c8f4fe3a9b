//! One request and its answer: what is known of it so far.
//!
//! Phases fill it in as they learn; whatever goes wrong, the record and the refusal say as much as
//! was known by then.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
    uri::PathAndQuery,
};
use hyper::{
    body::{Body, Incoming},
    upgrade::OnUpgrade,
};
use jiff::Timestamp;
use portcullis_identity::{introspection::Again, sealed::Opened};
use portcullis_model::{
    ContentNote, GrantId, InstanceName, OperationName, PolicyId, RequestId, ServiceName, ShownBody,
    SignInId, TraceParent,
};
use portcullis_policy::{Country, Snapshot, edge::HeaderRules};

use crate::{
    browser::Browser,
    canonical::{self, Authority, Canonical, Speaks, single::Present},
    core::Core,
    filter::request::TRACEPARENT,
    identify::Identity,
    listener::Peer,
    metrics::{Answered, Sampled},
    reveal::Sight,
    serve::strict::is_stand_in,
    share::Share,
    spans::Spans,
};

/// How much of an exchange is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Nothing yet.
    Nothing,
    /// That somebody was asked for it while it waits; that it left must follow if it does.
    Held,
    /// That it will be forwarded; its outcome must follow.
    Intent,
    /// All of it.
    Whole,
}

/// The key behind what a caller presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// There is none that is known here.
    None,
    /// It signed a proof of possession, which may not hold (RFC 9449).
    Proof,
    /// It is the connection's certificate's: without that, the caller is nobody.
    Certificate,
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) core: Rc<Core>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) id: RequestId,
    pub(crate) id_header: HeaderValue,
    pub(crate) started: Instant,
    pub(crate) now: Timestamp,
    /// The same moment by the clock that nobody sets.
    pub(crate) instant: Instant,
    pub(crate) trace: TraceParent,
    /// When it was ready to be sent to its upstream.
    pub(crate) forwarded: Cell<Option<Instant>>,
    /// What it did, if it is sampled.
    pub(crate) spans: Spans,
    /// One snapshot per request: route, decision and instance come from the same state.
    pub(crate) snapshot: Rc<Snapshot>,
    pub(crate) body: Option<Incoming>,
    pub(crate) upgrade: Option<OnUpgrade>,
    pub(crate) method: Method,
    authority: Option<Rc<Authority>>,
    pub(crate) target: Option<PathAndQuery>,
    /// What of the headers the gate looks at.
    pub(crate) present: Present,
    pub(crate) speaks: Speaks,
    pub(crate) prefers_html: bool,
    pub(crate) expects_continue: bool,
    pub(crate) peer_speaks_http1: bool,
    pub(crate) browser: Browser,
    /// Whose page it comes from, as its browser says.
    pub(crate) origin: Option<Box<HeaderValue>>,
    pub(crate) identity: Option<Rc<Identity>>,
    /// How the caller proved who they are.
    pub(crate) auth_method: Option<&'static str>,
    /// Where the caller is, if a policy asked.
    pub(crate) country: Option<Country>,
    /// The only grant that may open anything, if a grant token was presented.
    pub(crate) only: Option<GrantId>,
    /// The sign-in that identified the caller, and when what identified them ends.
    pub(crate) sign_in: Option<SignInId>,
    pub(crate) ends_at: Timestamp,
    /// The key behind what the caller presented.
    pub(crate) key: Key,
    /// Asks again whoever vouches for the caller, where they may change their mind.
    pub(crate) again: Option<Arc<Again>>,
    pub(crate) service: Option<ServiceName>,
    /// What its service wants changed in headers.
    pub(crate) header_rules: Option<Arc<HeaderRules>>,
    /// What of its head was for this hop alone because its `Connection` said so.
    pub(crate) nominated: Vec<HeaderName>,
    pub(crate) instance: Option<InstanceName>,
    pub(crate) operation: Option<OperationName>,
    pub(crate) policies: Arc<[PolicyId]>,
    pub(crate) grant: Option<GrantId>,
    /// What of its service's sensitive data is seen, if there is any.
    pub(crate) sight: Option<Box<Sight>>,
    /// What people see of its body, if it is refused and somebody may be asked about it.
    pub(crate) shown: Option<Box<ShownBody>>,
    /// What the record says of what was kept of it.
    pub(crate) content: Option<Box<ContentNote>>,
    /// What a sealed credential opened, if one was presented.
    pub(crate) sealed: Option<Arc<Opened>>,
    /// What it takes of the core, once it is permitted.
    pub(crate) share: Option<Share>,
    /// How much of it is on record.
    pub(crate) recorded: Cell<Recorded>,
    /// The seconds that the gate would wait, where the client prefers that (RFC 7240).
    pub(crate) applied: Option<u64>,
}

impl Exchange {
    /// Starts with what any request has, however malformed.
    pub(crate) fn begin(
        core: Rc<Core>,
        peer: Rc<Peer>,
        parts: &mut Parts,
        body: Option<Incoming>,
    ) -> Self {
        let now = core.now();
        let id = core.request_id(now);
        let headers = &parts.headers;
        let present = Present::of(headers);
        let sent = if present.has(Present::TRACEPARENT) { single(headers) } else { None };
        let sent = sent.and_then(|value| TraceParent::read(value.as_bytes()));
        // What cannot be read is not continued.
        let present = if sent.is_some() { present } else { present.without(Present::TRACEPARENT) };
        let started = Instant::now();
        let (trace, spans) = Spans::begin(&core, sent.as_ref(), now, started);
        let is_grpc = present.has(Present::CONTENT_TYPE) && canonical::is_grpc(headers);
        Self {
            id,
            id_header: id_header(id.to_text()),
            started,
            now,
            instant: started,
            trace,
            forwarded: Cell::new(None),
            spans,
            snapshot: core.snapshot(),
            body,
            upgrade: parts.extensions.remove::<OnUpgrade>(),
            method: parts.method.clone(),
            authority: None,
            target: parts.uri.path_and_query().filter(|_| !is_stand_in(&parts.method)).cloned(),
            present,
            speaks: if is_grpc { Speaks::Grpc } else { Speaks::Http },
            prefers_html: present.has(Present::ACCEPT) && prefers_html(&parts.headers),
            expects_continue: present.has(Present::EXPECT),
            peer_speaks_http1: parts.version < Version::HTTP_2,
            browser: Browser::default(),
            origin: if present.has(Present::ORIGIN) { origin(headers) } else { None },
            identity: None,
            auth_method: None,
            country: None,
            only: None,
            sign_in: None,
            ends_at: now,
            key: Key::None,
            again: None,
            service: None,
            header_rules: None,
            nominated: Vec::new(),
            instance: None,
            operation: None,
            policies: Arc::clone(&core.no_policies),
            grant: None,
            sight: None,
            shown: None,
            content: None,
            sealed: None,
            share: None,
            recorded: Cell::new(Recorded::Nothing),
            applied: None,
            core,
            peer,
        }
    }

    /// Whether it asks for another protocol, so that nothing behind it is read before it is answered.
    pub(crate) fn asks_upgrade(&self) -> bool {
        self.peer_speaks_http1
            && self.present.has(Present::UPGRADE)
            && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// From here on the request reads one way.
    pub(crate) fn reads_as(&mut self, request: &Canonical) {
        self.authority = Some(Rc::clone(&request.authority));
        self.speaks = request.speaks;
    }

    /// There is no request, and this is where its connection leads.
    pub(crate) fn leads_to(&mut self, authority: Rc<Authority>) {
        self.authority = Some(authority);
        self.speaks = Speaks::Tcp;
    }

    /// The canonical host; nothing before it is known.
    pub(crate) fn host(&self) -> &str {
        self.authority.as_deref().map_or("", Authority::host)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }

    /// Its trace, if it is sampled.
    pub(crate) fn sampled(&self) -> Sampled {
        self.spans.is_sampled().then_some((self.trace, self.now))
    }

    /// What is counted of it when it is answered.
    pub(crate) fn answered<'a>(
        &self,
        service: Option<&'a ServiceName>,
        decision: &'static str,
        status: StatusCode,
    ) -> Answered<'a> {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.started);
        let upstream = self.forwarded.get().map(|sent| now.saturating_duration_since(sent));
        Answered { service, decision, status, took, upstream, sampled: self.sampled() }
    }

    /// The spans, which know now what is known of it.
    pub(crate) fn take_spans(&mut self) -> Spans {
        let spans = std::mem::take(&mut self.spans);
        spans.describe(self);
        spans
    }
}

impl Drop for Exchange {
    /// A client that leaves before its answer takes the future away, and not the outcome.
    fn drop(&mut self) {
        match self.recorded.get() {
            Recorded::Intent => crate::record::abandoned(self),
            Recorded::Held => crate::record::left(self),
            Recorded::Nothing | Recorded::Whole => {}
        }
        drop(self.take_spans());
    }
}

fn single(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (None | Some(_), _) => None,
    }
}

fn origin(headers: &HeaderMap) -> Option<Box<HeaderValue>> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(Box::new(value.clone())),
        (None | Some(_), _) => None,
    }
}

/// The text of an id as a header value.
pub(crate) fn id_header(text: [u8; 26]) -> HeaderValue {
    let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text));
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A browser names `text/html` first of all that it accepts.
fn prefers_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().trim_ascii_start().starts_with(b"text/html"))
}
