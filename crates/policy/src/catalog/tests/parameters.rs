//! Parameters in all the places and styles that OpenAPI has for them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::{
    catalog::InspectError::{self, Malformed, NotRepresentable},
    context::{Record, Value},
};

/// One operation at `path` with `parameters`, in YAML.
fn catalog(path: &str, parameters: &str) -> Catalog {
    payments(openapi(&format!(
        "openapi: 3.1.0\npaths:\n  {path}:\n    get:\n      operationId: get\n      parameters:\n{parameters}"
    )))
}

/// The types of the parameters, as Cedar has them.
fn types(path: &str, parameters: &str) -> Option<String> {
    operation(&catalog(path, parameters), "get").params_type().map(super::types::shown)
}

fn query(parameters: &str, query: &str) -> Result<Value, InspectError> {
    let catalog = catalog("/x", parameters);
    let found = operation(&catalog, "get").params(&[], Some(query), &HeaderMap::new())?;
    Ok(Value::Record(found.unwrap()))
}

fn headers(
    parameters: &str,
    lines: &[(&'static str, &'static str)],
) -> Result<Value, InspectError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let catalog = catalog("/x", parameters);
    let found = operation(&catalog, "get").params(&[], None, &headers)?;
    Ok(Value::Record(found.unwrap()))
}

fn path(parameters: &str, raw: &str) -> Result<Value, InspectError> {
    let catalog = catalog("/x/{id}", parameters);
    let raw = [("id", raw.to_owned())];
    let found = operation(&catalog, "get").params(&raw, None, &HeaderMap::new())?;
    Ok(found.unwrap()["id"].clone())
}

fn longs(numbers: &[i64]) -> Value {
    Value::Set(numbers.iter().copied().map(Value::Long).collect())
}

fn texts(texts: &[&str]) -> Value {
    Value::Set(texts.iter().map(|text| Value::String((*text).to_owned())).collect())
}

fn only(name: &str, value: Value) -> Value {
    Value::Record(Record::from([(name.into(), value)]))
}

const NUMBERS: &str = "type: array, items: {type: integer}";
const WORDS: &str = "type: array, items: {type: string}";

#[test]
fn lists_in_queries_are_read_in_the_style_that_is_declared() {
    let of =
        |style: &str| format!("        - {{name: a, in: query, {style} schema: {{{NUMBERS}}}}}");
    for (style, text) in [
        ("", "a=1&a=2"),
        ("style: form, explode: true,", "a=1&b=5&a=2"),
        ("style: form, explode: false,", "a=1,2"),
        ("style: spaceDelimited, explode: false,", "a=1%202"),
        ("style: spaceDelimited,", "a=1+2"),
        ("style: pipeDelimited,", "a=1|2"),
        ("style: pipeDelimited, explode: false,", "a=1%7C2"),
    ] {
        assert_eq!(query(&of(style), text), Ok(only("a", longs(&[1, 2]))), "{style} {text}");
    }
    for style in ["style: pipeDelimited, explode: true,", "style: wild,", "style: deepObject,"] {
        assert_eq!(types("/x", &of(style)), None, "{style}");
    }
    let words = format!("        - {{name: a, in: query, explode: false, schema: {{{WORDS}}}}}");
    assert_eq!(query(&words, "a=x,y"), Ok(only("a", texts(&["x", "y"]))));
    for two_ways in
        ["a=x%2Cy", "a=", "a=x,,y", "a=x,", "a=x&a=y", "a[]=x", "a=x&a[0]=y", "b=1;a=2", "A=1"]
    {
        assert!(matches!(query(&words, two_ways), Err(Malformed(_))), "{two_ways}");
    }
}

#[test]
fn objects_in_queries_are_read_where_their_names_say_so() {
    let deep = "        - {name: f, in: query, style: deepObject, explode: true, schema: {type: object, required: [a], \
                properties: {a: {type: integer}, b: {type: string}, c: {type: array, items: {type: string}}}}}";
    assert_eq!(types("/x", deep).as_deref(), Some("{f?: {a: Long, b?: String}}"));
    let record = |fields: &[(&str, Value)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone()));
        Ok(only("f", Value::Record(fields.collect())))
    };
    let both = record(&[("a", Value::Long(1)), ("b", Value::String("x y".into()))]);
    assert_eq!(query(deep, "f[a]=1&f%5Bb%5D=x+y&f[other]=2&g=3"), both);
    assert_eq!(query(deep, "g=3"), Ok(Value::Record(Record::new())));
    assert!(matches!(query(deep, "f[b]=x"), Err(NotRepresentable(_))), "required");
    for two_ways in [
        "f[a]=1&f[a]=2",
        "f[a]=1&f[A]=2",
        "f=1",
        "f[]=1",
        "f[a=1",
        "f[a][b]=1",
        "f[a][]=1",
        "F[a]=1",
    ] {
        assert!(matches!(query(deep, two_ways), Err(Malformed(_))), "{two_ways}");
    }
    let spread =
        "        - {name: f, in: query, schema: {type: object, properties: {a: {type: integer}}}}";
    assert_eq!(types("/x", spread), None, "its names are anybody's");
    let json = "        - {name: f, in: query, content: {application/json: {schema: {type: object, properties: {a: {type: integer}}}}}}";
    assert_eq!(query(json, "f=%7B%22a%22%3A1%7D"), record(&[("a", Value::Long(1))]));
    assert!(matches!(query(json, "f=%7B%22a%22%3A1%2C%22a%22%3A2%7D"), Err(Malformed(_))));
}

#[test]
fn paths_are_read_in_the_style_that_is_declared() {
    let of = |style: &str, schema: &str| {
        format!("        - {{name: id, in: path, required: true, {style} schema: {{{schema}}}}}")
    };
    assert_eq!(path(&of("", NUMBERS), "1,2"), Ok(longs(&[1, 2])));
    assert_eq!(path(&of("explode: true,", NUMBERS), "1,2"), Ok(longs(&[1, 2])));
    assert_eq!(path(&of("style: label,", "type: integer"), ".7"), Ok(Value::Long(7)));
    assert_eq!(path(&of("style: label,", WORDS), ".a,b"), Ok(texts(&["a", "b"])));
    assert!(matches!(path(&of("style: label,", "type: integer"), "7"), Err(Malformed(_))));
    assert!(matches!(path(&of("", WORDS), "a%2Cb"), Err(Malformed(_))));
    assert_eq!(path(&of("", "type: string"), "a%2Cb"), Ok(Value::String("a,b".to_owned())));
    assert_eq!(path(&of("", "type: string"), "a+b"), Ok(Value::String("a+b".to_owned())));
    for style in ["style: matrix,", "style: label, explode: true,"] {
        assert_eq!(types("/x/{id}", &of(style, NUMBERS)), None, "{style}");
    }
}

#[test]
fn headers_are_read_as_they_will_be_sent() {
    let one = "        - {name: X-Tenant, in: header, required: true, schema: {type: integer}}";
    assert_eq!(types("/x", one).as_deref(), Some("{X-Tenant: Long}"));
    assert_eq!(
        headers(one, &[("x-tenant", "7"), ("x-other", "8")]),
        Ok(only("X-Tenant", Value::Long(7)))
    );
    assert!(matches!(headers(one, &[]), Err(NotRepresentable(_))));
    assert!(matches!(headers(one, &[("x-tenant", "7, 8")]), Err(NotRepresentable(_))));
    assert!(matches!(headers(one, &[("x-tenant", "7"), ("x-tenant", "7")]), Err(Malformed(_))));
    assert!(matches!(headers(one, &[("x-tenant", "7"), ("x_tenant", "8")]), Err(Malformed(_))));
    let list = format!("        - {{name: x-ids, in: header, schema: {{{WORDS}}}}}");
    assert_eq!(headers(&list, &[("x-ids", "a, b")]), Ok(only("x-ids", texts(&["a", "b"]))));
    assert!(matches!(headers(&list, &[("x-ids", "a,,b")]), Err(Malformed(_))));
    let json =
        "        - {name: x-f, in: header, content: {application/json: {schema: {type: boolean}}}}";
    assert_eq!(headers(json, &[("x-f", "true")]), Ok(only("x-f", Value::Bool(true))));
}

#[test]
fn headers_that_are_not_the_clients_to_say_stay_out() {
    for name in [
        "Authorization",
        "Cookie",
        "Connection",
        "Content-Type",
        "Portcullis-Principal",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "Forwarded",
        "DPoP",
        "X-Api-Key",
        "X-Auth-Token",
        "TE",
        "Accept-Encoding",
        "Range",
        "Client-IP",
        "no name",
    ] {
        let declared =
            format!("        - {{name: \"{name}\", in: header, schema: {{type: string}}}}");
        assert_eq!(types("/x", &declared), None, "{name}");
    }
    let cookie = "        - {name: c, in: cookie, schema: {type: string}}";
    assert_eq!(types("/x", cookie), None);
}

#[test]
fn queries_that_are_keys_stay_out() {
    for name in ["api_key", "apiKey", "access_token", "Token", "client-secret", "sig"] {
        let declared =
            format!("        - {{name: \"{name}\", in: query, schema: {{type: string}}}}");
        assert_eq!(types("/x", &declared), None, "{name}");
    }
    let cursor = "        - {name: page_token, in: query, schema: {type: string}}";
    assert_eq!(types("/x", cursor).as_deref(), Some("{page_token?: String}"));
    let key = "        - {name: k, in: query, schema: {type: string}}";
    let scheme = "\ncomponents:\n  securitySchemes:\n    own: {type: apiKey, in: query, name: k}";
    assert_eq!(types("/x", &format!("{key}{scheme}")), None);
}

#[test]
fn a_name_that_two_places_declare_stays_out() {
    let twins = "        - {name: a, in: query, schema: {type: string}}\n        - {name: a, in: header, schema: {type: string}}\n\
                 \x20       - {name: X-B, in: header, schema: {type: string}}\n        - {name: x_b, in: header, schema: {type: string}}\n\
                 \x20       - {name: c, in: query, schema: {type: string}}";
    assert_eq!(types("/x", twins).as_deref(), Some("{c?: String}"));
}

#[test]
fn names_that_readers_take_for_one_another_stay_out() {
    let twins = "        - {name: user.id, in: query, schema: {type: string}}\n        - {name: user_id, in: query, schema: {type: string}}\n\
                 \x20       - {name: Page, in: query, schema: {type: string}}\n        - {name: page, in: query, schema: {type: string}}\n\
                 \x20       - {name: c, in: query, schema: {type: string}}";
    assert_eq!(types("/x", twins).as_deref(), Some("{c?: String}"));
}

#[test]
fn references_lead_to_parameters_items_and_schemas() {
    let text = r##"
openapi: 3.1.0
paths:
  /x: {$ref: "#/components/pathItems/X"}
components:
  pathItems:
    X:
      get:
        operationId: get
        parameters: [{$ref: "#/components/parameters/A"}]
  parameters:
    A: {$ref: "#/components/parameters/B"}
    B: {name: b, in: query, schema: {$ref: "#/components/schemas/~0C"}}
  schemas:
    "~C": {type: [integer, "null"]}
"##;
    let catalog = payments(openapi(text));
    let shown = operation(&catalog, "get").params_type().map(super::types::shown);
    assert_eq!(shown.as_deref(), Some("{b?: Long}"));
}
