//! One operation, and what is declared about it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use portcullis_model::OperationName;

use super::{
    declared::{Body, CONNECT, Carrier, Draft, Param},
    inspect, media,
    names::Names,
    protobuf::ProtobufMethod,
    template::Template,
    types::RecordType,
};
use crate::{bundle::OperationGroup, context::Record};

/// One operation.
#[derive(Debug)]
pub struct Operation {
    name: OperationName,
    group: OperationGroup,
    method: Arc<str>,
    template: Option<Template>,
    params: Vec<Param>,
    params_type: Option<RecordType>,
    /// Of the parameters in the query.
    query: Names,
    headers: Option<HeaderParams>,
    body: Option<Body>,
    protobuf: Option<Box<ProtobufMethod>>,
    max_body: u64,
}

/// The headers in which an operation has parameters, as services may fold their names.
#[derive(Debug, Clone)]
pub struct HeaderParams(Arc<[String]>);

impl HeaderParams {
    /// `None` if there are none.
    pub fn of(names: impl IntoIterator<Item = HeaderName>) -> Option<Self> {
        let folded: Vec<String> =
            names.into_iter().map(|name| media::folded(name.as_str())).collect();
        (!folded.is_empty()).then(|| Self(folded.into()))
    }

    /// Whether a service may take `name` for one of them.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.0.contains(&media::folded(name.as_str()))
    }
}

/// How the messages of a call are packed that say that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coding(Option<Box<[u8]>>);

/// Why a request cannot be inspected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It can be read in more than one way, or not at all: 400.
    #[error("{0}")]
    Malformed(String),
    /// A value that the declared type cannot hold: 422.
    #[error("{0}")]
    NotRepresentable(String),
    /// Decoded, it is larger than what is read: 413.
    #[error("the body is over `max_body` once it is decoded")]
    TooLarge,
}

impl Operation {
    pub(super) fn new(
        name: OperationName,
        group: OperationGroup,
        max_body: u64,
        draft: Draft,
    ) -> Self {
        let Draft { method, template, params, body, protobuf, .. } = draft;
        let params_type = Param::record_type(&params);
        let query = Names::of_pairs(&params);
        let headers = HeaderParams::of(params.iter().filter_map(|param| match &param.carrier {
            Carrier::Header(name, _) => Some(name.clone()),
            Carrier::Path(_) | Carrier::Query(_) => None,
        }));
        Self {
            name,
            group,
            method,
            template,
            params,
            params_type,
            query,
            headers,
            body,
            protobuf,
            max_body,
        }
    }

    /// `payments.createRefund`.
    pub fn name(&self) -> &OperationName {
        &self.name
    }

    /// Read, write or admin.
    pub fn group(&self) -> OperationGroup {
        self.group
    }

    /// The largest body, in bytes, that is read before a decision.
    pub fn max_body(&self) -> u64 {
        self.max_body
    }

    /// `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Whether it is to open a connection to a TCP service, and no request.
    pub fn is_connect(&self) -> bool {
        *self.method == *CONNECT
    }

    /// `/refunds/{id}`, with the base path of its document; `None` if it is a method on any path.
    pub fn path(&self) -> Option<String> {
        self.template.as_ref().map(ToString::to_string)
    }

    /// The type of [`Self::params`]: parameters of path, query and headers that policies
    /// can read. `None` if
    /// there are none.
    pub fn params_type(&self) -> Option<&RecordType> {
        self.params_type.as_ref()
    }

    /// The type of [`Self::body`]. `None` if nothing that policies can read is declared.
    pub fn body_type(&self) -> Option<&RecordType> {
        self.body.as_ref().map(Body::ty)
    }

    /// What it is, if it is a method of gRPC that descriptors declare.
    pub fn protobuf(&self) -> Option<&ProtobufMethod> {
        self.protobuf.as_deref()
    }

    /// The headers in which parameters are declared, if there are any.
    pub fn header_params(&self) -> Option<HeaderParams> {
        self.headers.clone()
    }

    /// Declared parameters of path, query and headers as a typed record; `query` is the raw query
    /// string. Duplicates of a single-valued parameter are malformed; undeclared ones stay out.
    pub fn params(
        &self,
        path_params: &[(&str, String)],
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Option<Record>, InspectError> {
        if self.params.is_empty() {
            return Ok(None);
        }
        inspect::params(&self.params, &self.query, path_params, query, headers).map(Some)
    }

    /// The declared body as a typed record. Duplicates are malformed, at any depth; what is undeclared
    /// stays out; `None` if no body is declared, or it may be absent and is. `headers` say how it is
    /// written. Upstreams that merge forms with the raw `query` could read a declared field from there, and
    /// a declared parameter from the form: that is malformed, unless both declare it.
    pub fn body(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        bytes: &[u8],
    ) -> Result<Option<Record>, InspectError> {
        let beside = inspect::Beside { query: query.unwrap_or_default(), names: &self.query };
        match &self.body {
            Some(declared) => inspect::body(declared, headers, bytes, self.max_body, &beside),
            None => Ok(None),
        }
    }

    /// How the messages of a call are packed, as its headers say. What is no call of messages of protobuf cannot
    /// be read as one.
    pub fn coding(&self, headers: &HeaderMap) -> Result<Coding, InspectError> {
        inspect::coding(headers).map(Coding)
    }

    /// One of any number of messages of a call, with its frame and nothing else, as a typed record; `None` if nothing
    /// of it can be read by policies.
    pub fn message(&self, coding: &Coding, frame: &[u8]) -> Result<Option<Record>, InspectError> {
        match &self.body {
            Some(Body::Message(input)) => {
                input.record(frame, coding.0.as_deref(), self.max_body).map(Some)
            }
            Some(Body::Document(_)) => {
                let why = "a policy reads this message, and its operation has none by now";
                Err(InspectError::NotRepresentable(why.to_owned()))
            }
            None => Ok(None),
        }
    }

    /// Whether its clients send any number of messages, and not one.
    pub fn streams_up(&self) -> bool {
        self.protobuf().is_some_and(|method| method.client_streaming)
    }

    pub(super) fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    pub(super) fn method_text(&self) -> &Arc<str> {
        &self.method
    }
}
