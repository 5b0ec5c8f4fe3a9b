//! JSON Schema, as OpenAPI 3.0 and 3.1 use it, to [`Type`].
//!
//! A schema that does not map has no type, and so has everything that would need it. What has a
//! type has it in every valid document: a value of another shape is refused, never guessed.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    document::{Document, Node, Tree},
    names,
    types::{Field, RecordType, Type},
};

/// Schemas that one declaration may reach: a few lines can otherwise unfold to millions.
const MAX_SCHEMAS: usize = 4_096;

/// Schemas inside schemas; what is deeper cannot arrive, see the limit on bodies.
const MAX_DEPTH: usize = 64;

/// Reads the schemas of one declaration.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    document: &'d Document<'d>,
    /// References being followed, to find recursion.
    open: Vec<&'d str>,
    depth: usize,
    left: usize,
    /// Objects being read, inside of each other.
    inside: usize,
    /// The schema is of a form: what is binary in it is a file.
    has_files: bool,
    problems: Vec<(Option<usize>, String)>,
}

/// What a schema says: a type, if it has one, and whether a value may be null.
#[derive(Debug, Clone, Default)]
struct Shape {
    ty: Option<Type>,
    nullable: bool,
}

impl<'d> Reader<'d> {
    pub(super) fn new(document: &'d Document<'d>) -> Self {
        Self {
            document,
            open: Vec::new(),
            depth: 0,
            left: MAX_SCHEMAS,
            inside: 0,
            has_files: false,
            problems: Vec::new(),
        }
    }

    /// For the schema of a form in parts, where what is binary is a file.
    pub(super) fn of_parts(document: &'d Document<'d>) -> Self {
        Self { has_files: true, ..Self::new(document) }
    }

    /// The field that a property or parameter of this schema is; `None` if it does not map.
    pub(super) fn field(&mut self, schema: &'d Node, required: bool) -> Option<Field> {
        let shape = self.shape(schema);
        Some(Field { ty: shape.ty?, required: required && !shape.nullable })
    }

    /// What could not be followed, with lines.
    pub(super) fn into_problems(self) -> Vec<(Option<usize>, String)> {
        self.problems
    }

    fn shape(&mut self, schema: &'d Node) -> Shape {
        let Some(left) = self.left.checked_sub(1) else {
            self.problem(schema, format!("more than {MAX_SCHEMAS} schemas in one declaration"));
            return Shape::default();
        };
        self.left = left;
        if self.depth == MAX_DEPTH {
            return Shape::default();
        }
        self.depth += 1;
        let shape = match schema.reference() {
            Some(reference) => self.referenced(schema, reference),
            None => self.own_shape(schema),
        };
        self.depth -= 1;
        shape
    }

    fn referenced(&mut self, schema: &'d Node, reference: &'d str) -> Shape {
        if self.open.contains(&reference) {
            return Shape::default();
        }
        let Some(target) = self.document.lookup(reference) else {
            let what = format!("reference `{reference}` leads nowhere in this document");
            self.problem(schema, what);
            return Shape::default();
        };
        self.open.push(reference);
        let shape = self.shape(target);
        self.open.pop();
        shape
    }

    fn problem(&mut self, at: &Node, message: String) {
        if !self.problems.iter().any(|(_, other)| *other == message) {
            self.problems.push((at.line, message));
        }
    }

    fn own_shape(&mut self, schema: &'d Node) -> Shape {
        let (names, null) = type_names(schema);
        let nullable = null || schema.flag("nullable");
        let ty = match names.as_slice() {
            ["boolean"] => Some(Type::Bool),
            ["integer"] => Some(Type::Long),
            ["number"] => Some(Type::Decimal),
            ["string"] if self.is_file(schema) => Some(file()),
            ["string"] => Some(Type::String),
            ["array"] => self.set(schema),
            ["object"] => self.own_record(schema),
            [] => return self.untyped(schema, nullable),
            _ => None,
        };
        Shape { ty, nullable }
    }

    /// No `type`: what the other keywords leave no doubt about.
    fn untyped(&mut self, schema: &'d Node, nullable: bool) -> Shape {
        if schema.at("properties").is_some() {
            return Shape { ty: self.own_record(schema), nullable };
        }
        if let Some(parts) = schema.at("allOf") {
            let shape = self.all_of(parts.items());
            return Shape { nullable: nullable || shape.nullable, ..shape };
        }
        if let Some(choices) = schema.at("oneOf").or_else(|| schema.at("anyOf")) {
            let shape = self.one_or_null(choices.items());
            return Shape { nullable: nullable || shape.nullable, ..shape };
        }
        let (ty, null) =
            schema.at("enum").map_or((None, false), |values| enumerated(values.items()));
        let ty = ty.or_else(|| schema.at("const").and_then(scalar));
        // OpenAPI 3.1 writes a file without a type.
        let ty = ty.or_else(|| self.is_file(schema).then(file));
        Shape { ty, nullable: nullable || null }
    }

    fn is_file(&self, schema: &Node) -> bool {
        let is_coded = schema.at("contentEncoding").is_some();
        let is_binary = schema.text_at("format") == Some("binary")
            || schema.at("contentMediaType").is_some() && !is_coded;
        self.has_files && self.inside == 1 && is_binary
    }

    /// What looks like a file and is none would be read as one.
    fn own_record(&mut self, schema: &'d Node) -> Option<Type> {
        let ty = self.record(schema)?;
        (!self.has_files || self.inside != 1 || ty != file()).then_some(ty)
    }

    fn set(&mut self, schema: &'d Node) -> Option<Type> {
        let item = self.shape(schema.at("items")?);
        // A set of Cedar has no null, and leaving nulls out would change what `containsAll` says.
        let mapped = item.ty.filter(|_| !item.nullable)?;
        (!matches!(mapped, Type::Set(_))).then(|| Type::Set(Box::new(mapped)))
    }

    fn record(&mut self, schema: &'d Node) -> Option<Type> {
        let mut fields = Fields::default();
        for part in schema.at("allOf").map_or(&[][..], Node::items) {
            if let Some(Type::Record(record)) = self.shape(part).ty {
                fields.merge(record);
            }
        }
        let mut own = RecordType::default();
        self.inside += 1;
        for (name, property) in schema.at("properties").into_iter().flat_map(Node::entries) {
            // A read-only property may be required of answers; requests leave it out.
            let required = is_required(schema, name) && !self.is_read_only(property);
            if let Some(field) = self.field(property, required) {
                own.fields.insert(name.into(), field);
            } else {
                fields.leave_out(name);
            }
        }
        self.inside -= 1;
        fields.merge(own);
        fields.into_type()
    }

    /// Whether it, what it refers to, or what has to hold with it says so.
    fn is_read_only(&self, property: &'d Node) -> bool {
        let mut open = vec![property];
        // What refers to itself says nothing more the second time.
        for _ in 0..MAX_DEPTH {
            let Some(node) = open.pop() else { return false };
            let resolved = self.document.resolve(node).unwrap_or(node);
            if node.flag("readOnly") || resolved.flag("readOnly") {
                return true;
            }
            let parts = |node: &'d Node| node.at("allOf").map_or(&[][..], Node::items).iter();
            open.extend(parts(resolved).take(MAX_DEPTH));
            if !std::ptr::eq(node, resolved) {
                open.extend(parts(node).take(MAX_DEPTH));
            }
        }
        false
    }

    /// Objects are merged; one other type stays what it is; anything else does not map.
    fn all_of(&mut self, parts: &'d [Node]) -> Shape {
        let shapes: Vec<Shape> = parts.iter().map(|part| self.shape(part)).collect();
        let nullable = !shapes.is_empty() && shapes.iter().all(|shape| shape.nullable);
        let mut types: Vec<Type> = shapes.into_iter().filter_map(|shape| shape.ty).collect();
        if types.iter().all(|ty| matches!(ty, Type::Record(_))) {
            let mut fields = Fields::default();
            for ty in types {
                if let Type::Record(record) = ty {
                    fields.merge(record);
                }
            }
            return Shape { ty: fields.into_type(), nullable };
        }
        types.dedup();
        let ty = if types.len() == 1 { types.pop() } else { None };
        Shape { ty, nullable }
    }

    /// `anyOf: [X, {type: "null"}]` is how OpenAPI 3.1 writes an X that may be null. Any other
    /// choice does not map.
    fn one_or_null(&mut self, choices: &'d [Node]) -> Shape {
        let is_null = |choice: &&Node| choice.text_at("type") == Some("null");
        let nullable = choices.iter().any(|choice| is_null(&choice));
        let others: Vec<&Node> = choices.iter().filter(|choice| !is_null(choice)).collect();
        match others.as_slice() {
            [one] => {
                let shape = self.shape(one);
                Shape { nullable: nullable || shape.nullable, ..shape }
            }
            _ => Shape::default(),
        }
    }
}

/// What policies read of a file: never what is in it.
pub(super) fn file() -> Type {
    let field = |ty, required| Field { ty, required };
    let fields = [
        ("filename", field(Type::String, true)),
        ("size", field(Type::Long, true)),
        ("type", field(Type::String, false)),
    ];
    let fields = fields.into_iter().map(|(name, field)| (Arc::from(name), field));
    Type::Record(RecordType::of(fields.collect()))
}

/// Fields from several schemas that all hold.
#[derive(Debug, Default)]
struct Fields {
    fields: BTreeMap<Arc<str>, Field>,
    left_out: Vec<Arc<str>>,
}

impl Fields {
    /// A field that two schemas type differently is left out.
    fn merge(&mut self, record: RecordType) {
        for (name, field) in record.fields {
            match self.fields.get_mut(&name) {
                None => {
                    self.fields.insert(name, field);
                }
                Some(known) if known.ty == field.ty => known.required |= field.required,
                Some(_) => self.left_out.push(name),
            }
        }
    }

    fn leave_out(&mut self, name: &str) {
        self.left_out.push(name.into());
    }

    /// A record without fields is a free map. Of names that readers take for one another, a service may read
    /// any: they are left out.
    fn into_type(mut self) -> Option<Type> {
        let mut known: BTreeMap<String, Arc<str>> = BTreeMap::new();
        for name in self.fields.keys() {
            if let Some(other) = known.insert(names::folded(name), Arc::clone(name)) {
                self.left_out.extend([other, Arc::clone(name)]);
            }
        }
        for name in &self.left_out {
            self.fields.remove(name);
        }
        (!self.fields.is_empty()).then_some(Type::Record(RecordType::of(self.fields)))
    }
}

/// The names in `type`, and whether null is among them.
fn type_names(schema: &Node) -> (Vec<&str>, bool) {
    let Some(ty) = schema.at("type") else { return (Vec::new(), false) };
    let names: Vec<&str> = match ty.text() {
        Some(name) => vec![name],
        None => ty.items().iter().filter_map(Node::text).collect(),
    };
    let null = names.contains(&"null");
    let others: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
    // Null alone is a type, and maps to none of ours.
    if others.is_empty() { (vec!["null"], null) } else { (others, null) }
}

fn is_required(schema: &Node, name: &str) -> bool {
    let required = schema.at("required").map_or(&[][..], Node::items);
    required.iter().any(|item| item.text() == Some(name))
}

/// The one type of all of `values`, null aside, and whether null is among them.
fn enumerated(values: &[Node]) -> (Option<Type>, bool) {
    let is_null = |value: &&Node| matches!(value.tree, Tree::Null);
    let null = values.iter().any(|value| is_null(&value));
    let mut types: Vec<Option<Type>> =
        values.iter().filter(|value| !is_null(value)).map(scalar).collect();
    types.dedup();
    let ty = if types.len() == 1 { types.pop().flatten() } else { None };
    (ty, null)
}

fn scalar(value: &Node) -> Option<Type> {
    match value.tree {
        Tree::Bool(_) => Some(Type::Bool),
        Tree::Integer => Some(Type::Long),
        Tree::Text(_) => Some(Type::String),
        Tree::Null | Tree::Number(_) | Tree::List(_) | Tree::Map(_) => None,
    }
}
