//! Bodies of an OpenAPI document: what each content type holds, and what all of them have in common.

use std::{collections::BTreeMap, sync::Arc};

use super::params::{in_query, readable};
use crate::catalog::{
    declared::{Carrier, Document, Form, Holds, Media, Param, Parts, Written},
    document::{self, Node},
    media,
    schema::Reader,
    types::{Field, RecordType, Type},
};

/// What a body of the content type `name` holds, and who has read its schema. `None` for a range of
/// types: what it holds is not declared.
pub(super) fn media<'d>(
    document: &'d document::Document<'d>,
    name: &str,
    node: &'d Node,
) -> (Option<Media>, Reader<'d>) {
    let essence = media::essence(name);
    let is_parts = essence == media::PARTS;
    let mut reader = if is_parts { Reader::of_parts(document) } else { Reader::new(document) };
    if essence.contains('*') {
        return (None, reader);
    }
    let is_read = is_parts || essence == media::FORM || media::is_json(&essence);
    let node = document.resolve(node).unwrap_or(node);
    let schema = node.at("schema").filter(|_| is_read);
    let record = schema.and_then(|schema| reader.field(schema, true)).and_then(record);
    let encoding = |name: &str| node.at("encoding").and_then(|all| all.at(name));
    let holds = match record {
        None => Holds::Opaque,
        Some(record) if is_parts => parts(record, encoding),
        Some(record) if essence == media::FORM => form(record, encoding),
        Some(record) => Holds::Json(record),
    };
    (Some(Media { essence, holds }), reader)
}

/// An object that may be null is none.
fn record(field: Field) -> Option<RecordType> {
    match field.ty {
        Type::Record(record) if field.required => Some(record),
        _ => None,
    }
}

fn form<'d>(record: RecordType, encoding: impl Fn(&str) -> Option<&'d Node>) -> Holds {
    let params = record.fields.into_iter().filter_map(|(name, field)| {
        let written = match encoding(&name) {
            None => Written::Repeated,
            Some(node) if node.at("contentType").is_some() => {
                let kind = node.text_at("contentType").filter(|kind| media::is_json(kind));
                kind.map(|_| Written::Json)?
            }
            Some(node) => {
                let style = node.text_at("style");
                let is_form = matches!(style, None | Some("form"));
                let is_said = node.at("explode").is_some();
                in_query(style, if is_said { node.flag("explode") } else { is_form })?
            }
        };
        let field = if written == Written::Json { field } else { readable(field, written)? };
        Some(Param { name, carrier: Carrier::Query(written), field })
    });
    let params: Vec<Param> = params.collect();
    if params.is_empty() { Holds::Opaque } else { Holds::Form(Form::new(params)) }
}

/// A part that is written in a style of queries is left out.
fn parts<'d>(record: RecordType, encoding: impl Fn(&str) -> Option<&'d Node>) -> Holds {
    let is_styled = |name: &str| {
        let keys = ["style", "explode", "allowReserved"];
        encoding(name).is_some_and(|node| keys.iter().any(|key| node.at(key).is_some()))
    };
    let is_json = |name: &Arc<str>| {
        let kind = encoding(name).and_then(|node| node.text_at("contentType"));
        kind.is_some_and(media::is_json)
    };
    let json = record.fields.keys().filter(|name| is_json(name)).cloned().collect();
    let fields: BTreeMap<Arc<str>, Field> =
        record.fields.into_iter().filter(|(name, _)| !is_styled(name)).collect();
    if fields.is_empty() {
        Holds::Opaque
    } else {
        Holds::Parts(Parts::new(RecordType::of(fields), json))
    }
}

/// Adds `read`. What is declared twice, with parameters, is read only if both say the same.
pub(super) fn add(media: &mut Vec<Media>, read: Option<Media>) {
    let Some(read) = read else { return };
    match media.iter_mut().find(|other| other.essence == read.essence) {
        Some(other) if other.holds != read.holds => other.holds = Holds::Opaque,
        Some(_) => {}
        None => media.push(read),
    }
}

/// `None` if nothing of it can be read.
pub(super) fn document(media: Vec<Media>, required: bool) -> Option<Document> {
    let types: Vec<RecordType> = media.iter().filter_map(Media::ty).collect();
    let ty = common(&types);
    (!ty.fields.is_empty()).then_some(Document { media, ty, required })
}

impl Media {
    fn ty(&self) -> Option<RecordType> {
        match &self.holds {
            Holds::Json(ty) => Some(ty.clone()),
            Holds::Parts(parts) => Some(parts.ty.clone()),
            Holds::Form(form) => Param::record_type(&form.params),
            Holds::Opaque => None,
        }
    }
}

/// A field that two types have with another type is left out; one that not all of them require may be
/// missing.
fn common(types: &[RecordType]) -> RecordType {
    let mut fields: BTreeMap<Arc<str>, Field> = BTreeMap::new();
    for (name, field) in types.iter().flat_map(|ty| &ty.fields) {
        let others = || types.iter().map(|ty| ty.fields.get(name));
        if others().flatten().all(|other| other.ty == field.ty) {
            let required = others().all(|other| other.is_some_and(|other| other.required));
            fields.insert(Arc::clone(name), Field { ty: field.ty.clone(), required });
        }
    }
    RecordType::of(fields)
}
