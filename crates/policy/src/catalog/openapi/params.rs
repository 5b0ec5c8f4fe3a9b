//! Parameters of an OpenAPI document: where they are, how they are written, and which of them read one way.

use http::HeaderName;

use crate::catalog::{
    declared::{Carrier, Param, Written},
    document::{Document, Node},
    media, names,
    schema::Reader,
    types::{Field, RecordType, Type},
};

/// Headers that belong to one hop or to the gate, are credentials, or may be changed on the way.
const LEFT_OUT: [&str; 31] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dpop",
    "expect",
    "grpc-timeout",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "prefer",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// How the names of headers begin, folded, that only the gate may set.
const RESERVED: [&str; 18] = [
    "clientcert",
    "forwarded",
    "portcullis",
    "remoteuser",
    "trueclientip",
    "xauthenticated",
    "xauthrequest",
    "xclientcert",
    "xclientip",
    "xenvoy",
    "xforwarded",
    "xhttpmethod",
    "xmiddleware",
    "xoriginal",
    "xrealip",
    "xremote",
    "xrewrite",
    "xssl",
];

/// What the names of headers have in them, folded, that are credentials: reviewers see parameters.
const SECRET: [&str; 10] = [
    "accesskey",
    "apikey",
    "authkey",
    "authorization",
    "credential",
    "password",
    "secret",
    "sessionid",
    "signature",
    "token",
];

/// The names of query parameters, folded, that are credentials. A cursor may be a `page_token`: here it is
/// the whole name that counts.
const KEYS: [&str; 14] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "authtoken",
    "clientsecret",
    "idtoken",
    "password",
    "passwd",
    "refreshtoken",
    "secret",
    "sessiontoken",
    "sig",
    "signature",
    "token",
];

/// The parameter `name` of `place`, if it can be read in one way.
pub(super) fn param<'d>(
    reader: &mut Reader<'d>,
    document: &'d Document<'d>,
    place: &str,
    name: &str,
    node: &'d Node,
) -> Option<Param> {
    if is_key(document, place, name) {
        return None;
    }
    let header = match place {
        "header" => Some(header(name)?),
        "query" if KEYS.contains(&folded(name).as_str()) => return None,
        "path" | "query" => None,
        _ => return None,
    };
    let in_path = place == "path";
    let required = in_path || node.flag("required");
    let (field, written) = if let Some(content) = node.at("content") {
        (in_json(reader, document, content, required)?, Written::Json)
    } else {
        let field = reader.field(node.at("schema")?, required)?;
        let written = written(place, node)?;
        (readable(field, written)?, written)
    };
    let field = Field { required: field.required || in_path, ..field };
    let carrier = match header {
        Some(header) => Carrier::Header(header, written),
        None if in_path => Carrier::Path(written),
        None => Carrier::Query(written),
    };
    Some(Param { name: name.into(), carrier, field })
}

/// A parameter whose value is a document of its own.
fn in_json<'d>(
    reader: &mut Reader<'d>,
    document: &'d Document<'d>,
    content: &'d Node,
    required: bool,
) -> Option<Field> {
    let mut all = content.entries();
    let (Some((kind, node)), None) = (all.next(), all.next()) else { return None };
    let node = document.resolve(node).ok().filter(|_| media::is_json(kind))?;
    reader.field(node.at("schema")?, required)
}

/// `None` for styles that read in more than one way. A semicolon in a path, as `matrix` has it, is
/// refused at the gate.
fn written(place: &str, node: &Node) -> Option<Written> {
    let style = node.text_at("style");
    let is_form = matches!(style, None | Some("form"));
    let explode = if node.at("explode").is_some() {
        node.flag("explode")
    } else {
        place == "query" && is_form
    };
    match (place, style) {
        ("path" | "header", None | Some("simple")) => Some(Written::Commas),
        ("path", Some("label")) if !explode => Some(Written::Label),
        ("query", Some("deepObject")) => Some(Written::Deep),
        ("query", _) => in_query(style, explode),
        _ => None,
    }
}

/// The styles of a query that forms have as well.
pub(super) fn in_query(style: Option<&str>, explode: bool) -> Option<Written> {
    match (style, explode) {
        (None | Some("form"), true) => Some(Written::Repeated),
        (None | Some("form"), false) => Some(Written::Commas),
        (Some("spaceDelimited"), false) => Some(Written::Spaces),
        (Some("pipeDelimited"), false) => Some(Written::Bars),
        _ => None,
    }
}

/// The part of `field` that this way of writing holds.
pub(super) fn readable(field: Field, written: Written) -> Option<Field> {
    let is_scalar = |ty: &Type| !matches!(ty, Type::Set(_) | Type::Record(_));
    match (field.ty, written) {
        (Type::Record(record), Written::Deep) => {
            let fields = record.fields.into_iter().filter(|(_, field)| is_scalar(&field.ty));
            let fields: std::collections::BTreeMap<_, _> = fields.collect();
            let ty = Type::Record(RecordType::of(fields.clone()));
            (!fields.is_empty()).then_some(Field { ty, ..field })
        }
        (Type::Record(_), _) | (_, Written::Deep) => None,
        (Type::Set(item), _) if !is_scalar(&item) => None,
        (ty, _) => Some(Field { ty, ..field }),
    }
}

/// The header `name`, if it comes to services as clients send it.
fn header(name: &str) -> Option<HeaderName> {
    let header = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let text = header.as_str();
    let folded = media::folded(text);
    let is_left_out = LEFT_OUT.iter().any(|other| media::folded(other) == folded)
        || RESERVED.iter().any(|prefix| folded.starts_with(prefix))
        || SECRET.iter().any(|word| folded.contains(word))
        || ["clientip", "cfconnectingip", "remoteaddr", "xclusterclientip", "xmethodoverride"]
            .contains(&folded.as_str());
    (!is_left_out).then_some(header)
}

fn folded(name: &str) -> String {
    media::folded(&name.to_ascii_lowercase())
}

/// Whether the document says that `name` of `place` is a key.
fn is_key(document: &Document<'_>, place: &str, name: &str) -> bool {
    let schemes = document.lookup("#/components/securitySchemes");
    schemes.into_iter().flat_map(Node::entries).any(|(_, scheme)| {
        let scheme = document.resolve(scheme).unwrap_or(scheme);
        scheme.text_at("in") == Some(place)
            && scheme.text_at("name").is_some_and(|own| own.eq_ignore_ascii_case(name))
    })
}

/// Whether two names of `place` are one: those of headers have no case.
pub(super) fn is_same(place: &str, one: &str, other: &str) -> bool {
    one == other || place == "header" && one.eq_ignore_ascii_case(other)
}

/// A name that two places declare means two things: it is left out. So are a header and a name in a query that
/// fold to another one, since some services take them for one.
pub(super) fn without_twins(params: Vec<Param>, declared: &[(&str, &str, &Node)]) -> Vec<Param> {
    let is_twin = |param: &Param| {
        let own = |place: &str| matches!(place, "path" | "query" | "header");
        let same = declared.iter().filter(|(place, name, _)| own(place) && *name == &*param.name);
        let alike = declared
            .iter()
            .filter(|(place, name, _)| *place == "header" && folded(name) == folded(&param.name));
        let in_query = |(place, name, _): &&(&str, &str, &Node)| {
            *place == "query" && names::folded(name) == names::folded(&param.name)
        };
        same.count() > 1
            || match param.carrier {
                Carrier::Header(..) => alike.count() > 1,
                Carrier::Query(_) => declared.iter().filter(in_query).count() > 1,
                Carrier::Path(_) => false,
            }
    };
    let twins: Vec<bool> = params.iter().map(is_twin).collect();
    params.into_iter().zip(twins).filter(|(_, is_twin)| !is_twin).map(|(param, _)| param).collect()
}
