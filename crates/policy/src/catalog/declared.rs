//! What is declared about operations, before anything is checked across them: inline, by method, or
//! in an OpenAPI document.

use std::{collections::BTreeSet, fmt, sync::Arc};

use http::HeaderName;
use indexmap::IndexMap;

use super::{
    names::Names,
    protobuf::{self, ProtobufMethod},
    template::{Segment, Template},
    types::{Field, RecordType, Type},
};
use crate::{LoadError, bundle::OperationGroup};

/// One declared operation.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Its name, without its service.
    pub(super) name: String,
    /// In upper case.
    pub(super) method: Arc<str>,
    /// `None`: any path.
    pub(super) template: Option<Template>,
    pub(super) params: Vec<Param>,
    pub(super) body: Option<Body>,
    /// `None`: what its method says.
    pub(super) group: Option<OperationGroup>,
    /// What it is, if it is a method of gRPC that descriptors declare.
    pub(super) protobuf: Option<Box<ProtobufMethod>>,
    pub(super) place: Place,
}

/// One parameter that policies can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Param {
    pub(super) name: Arc<str>,
    pub(super) carrier: Carrier,
    pub(super) field: Field,
}

/// Where a parameter is, and how it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carrier {
    /// In the path, as one segment.
    Path(Written),
    /// In the query, or in a form.
    Query(Written),
    /// In the header of this name.
    Header(HeaderName, Written),
}

/// How a value is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Once for each value of a list.
    Repeated,
    /// Once, with commas between values.
    Commas,
    /// Once, with spaces between values.
    Spaces,
    /// Once, with bars between values.
    Bars,
    /// Like commas, after a dot.
    Label,
    /// `filter[name]=value`, once for each field.
    Deep,
    /// As JSON.
    Json,
}

/// How a body is read.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// As its content type says.
    Document(Document),
    /// As the one message of a call of gRPC.
    Message(protobuf::Input),
}

/// A body of one of several content types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) media: Vec<Media>,
    /// What all of them have that can be read.
    pub(super) ty: RecordType,
    pub(super) required: bool,
}

/// One content type, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Media {
    /// In lower case, without parameters.
    pub(super) essence: String,
    pub(super) holds: Holds,
}

/// What a body of some content type holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// A JSON object.
    Json(RecordType),
    /// Names and values as a query has them.
    Form(Form),
    /// Names and values in parts.
    Parts(Parts),
    /// Something that policies cannot read.
    Opaque,
}

/// A form that is written like a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) params: Vec<Param>,
    pub(super) names: Names,
}

/// A form in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) ty: RecordType,
    /// Those whose parts are declared to be JSON.
    pub(super) json: BTreeSet<Arc<str>>,
}

impl Form {
    pub(super) fn new(params: Vec<Param>) -> Self {
        let names = Names::of_pairs(&params);
        Self { params, names }
    }
}

impl Parts {
    pub(super) fn new(ty: RecordType, json: BTreeSet<Arc<str>>) -> Self {
        Self { ty, json }
    }
}

impl Body {
    pub(super) fn ty(&self) -> &RecordType {
        match self {
            Self::Document(document) => &document.ty,
            Self::Message(input) => input.ty(),
        }
    }
}

/// Where something is declared, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) snippet: Option<String>,
}

/// Every method that is ever forwarded.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Param {
    /// The record of all of `params`; `None` if there are none.
    pub(super) fn record_type(params: &[Self]) -> Option<RecordType> {
        let fields = params.iter().map(|param| (Arc::clone(&param.name), param.field.clone()));
        (!params.is_empty()).then(|| RecordType::of(fields.collect()))
    }

    /// A path parameter about which nothing else is known.
    pub(super) fn text(name: &Arc<str>) -> Self {
        let field = Field { ty: Type::String, required: true };
        Self { name: Arc::clone(name), carrier: Carrier::Path(Written::Commas), field }
    }
}

impl Place {
    pub(super) fn error(&self, message: String, help: Option<String>) -> LoadError {
        LoadError {
            file: self.file.clone(),
            line: self.line,
            column: None,
            snippet: self.snippet.clone(),
            message,
            help,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments().iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Param(name) => write!(f, "/{{{name}}}"),
        })
    }
}

/// One operation per method.
pub(super) fn by_method(place: &Place) -> Vec<Draft> {
    let draft = |method: &str| Draft {
        name: method.to_owned(),
        method: method.into(),
        template: None,
        params: Vec::new(),
        body: None,
        group: None,
        protobuf: None,
        place: place.clone(),
    };
    METHODS.into_iter().map(draft).collect()
}

/// The method that no client can send: what opens a connection to a TCP service.
pub(super) const CONNECT: &str = "CONNECT";

/// The one operation of a TCP service.
pub(super) fn connect(place: &Place) -> Vec<Draft> {
    vec![Draft {
        name: "connect".to_owned(),
        method: CONNECT.into(),
        template: None,
        params: Vec::new(),
        body: None,
        group: None,
        protobuf: None,
        place: place.clone(),
    }]
}

/// `name: METHOD /path/{parameter}`.
pub(super) fn inline(
    entries: &IndexMap<String, String>,
    place: &Place,
    errors: &mut Vec<LoadError>,
) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (name, text) in entries {
        match inline_parts(text) {
            Ok((method, template)) => drafts.push(Draft {
                name: name.clone(),
                method,
                params: template.params().map(|(_, name)| Param::text(name)).collect(),
                template: Some(template),
                body: None,
                group: None,
                protobuf: None,
                place: place.clone(),
            }),
            Err(what) => errors.push(place.error(
                format!("operation `{name}`: {what}"),
                Some("write it as `METHOD /path/{parameter}`".to_owned()),
            )),
        }
    }
    drafts
}

fn inline_parts(text: &str) -> Result<(Arc<str>, Template), String> {
    let (method, path) =
        text.split_once(' ').ok_or_else(|| format!("`{text}` is not a method and a path"))?;
    if !METHODS.contains(&method) {
        return Err(format!("`{method}` is none of {}", METHODS.join(", ")));
    }
    Ok((method.into(), Template::parse("", path.trim())?))
}
