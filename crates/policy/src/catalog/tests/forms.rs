//! Bodies of several content types: forms, forms in parts, and JSON beside them.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::*;
use crate::{
    catalog::InspectError::{self, Malformed, NotRepresentable},
    context::{Record, Value},
};

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const PARTS: &str = "multipart/form-data; boundary=cut-here";

/// What a form of any kind has here.
const SCHEMA: &str = "{type: object, required: [amount], properties: {amount: {type: integer}, note: {type: string}, \
                      tags: {type: array, items: {type: string}}, ok: {type: boolean}, rate: {type: number}}}";

fn catalog(content: &str) -> Catalog {
    payments(openapi(&format!(
        "openapi: 3.0.3\npaths:\n  /x:\n    post:\n      operationId: post\n      requestBody:\n        required: true\n        content:\n{content}"
    )))
}

fn all() -> Catalog {
    catalog(&format!(
        "          application/json: {{schema: {SCHEMA}}}\n          {FORM}: {{schema: {SCHEMA}}}\n          \
         multipart/form-data: {{schema: {SCHEMA}}}\n          application/octet-stream: {{}}"
    ))
}

fn read(catalog: &Catalog, kind: &str, bytes: &[u8]) -> Result<Record, InspectError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
    operation(catalog, "post").body(&headers, None, bytes).map(|record| record.unwrap())
}

fn form(text: &str) -> Result<Record, InspectError> {
    read(&all(), FORM, text.as_bytes())
}

/// A form in parts: each a head, without its last line, and what is in it.
pub(super) fn parts(parts: &[(&str, &str)]) -> Vec<u8> {
    let part =
        |(head, content): &(&str, &str)| format!("--cut-here\r\n{head}\r\n\r\n{content}\r\n");
    let parts: Vec<String> = parts.iter().map(part).collect();
    (parts.concat() + "--cut-here--\r\n").into_bytes()
}

pub(super) fn named(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

pub(super) fn simple(fields: &[(&str, &str)]) -> Vec<u8> {
    let heads: Vec<(String, &str)> =
        fields.iter().map(|(name, value)| (named(name), *value)).collect();
    parts(&heads.iter().map(|(head, value)| (head.as_str(), *value)).collect::<Vec<_>>())
}

fn in_parts(fields: &[(&str, &str)]) -> Result<Record, InspectError> {
    read(&all(), PARTS, &simple(fields))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn every_content_type_says_the_same() {
    let expected = Record::from([
        ("amount".into(), Value::Long(5)),
        ("note".into(), text("a b&c")),
        ("tags".into(), Value::Set(vec![text("x"), text("y")])),
        ("ok".into(), Value::Bool(true)),
        ("rate".into(), Value::Decimal("0.5".to_owned())),
    ]);
    let json = br#"{"amount": 5, "note": "a b&c", "tags": ["x", "y"], "ok": true, "rate": 0.5, "other": 1}"#;
    assert_eq!(read(&all(), "application/json", json), Ok(expected.clone()));
    assert_eq!(
        form("amount=5&note=a+b%26c&tags=x&tags=y&ok=true&rate=0.50&other=1"),
        Ok(expected.clone())
    );
    let fields = [
        ("amount", "5"),
        ("note", "a b&c"),
        ("tags", "x"),
        ("tags", "y"),
        ("ok", "true"),
        ("rate", "0.5"),
        ("other", "1"),
    ];
    assert_eq!(in_parts(&fields), Ok(expected));
}

#[test]
fn n04_two_amounts_in_one_form_are_malformed() {
    for twice in [
        "amount=1&amount=2",
        "amount=1&%61mount=2",
        "amount=1&Amount=2",
        "amount=1;amount=2",
        "amount=1&amount[]=2",
        "amount=1&x=1;amount=2",
    ] {
        assert!(matches!(form(twice), Err(Malformed(_))), "{twice}");
    }
    for other in ["amount", "Amount", "AMOUNT", "amount[]", "%61mount", "amount[0]"] {
        let found = in_parts(&[("amount", "1"), (other, "2")]);
        assert!(matches!(found, Err(Malformed(_))), "{other}: {found:?}");
    }
}

#[test]
fn n04_an_undeclared_field_stays_out() {
    let expected = Record::from([("amount".into(), Value::Long(1))]);
    assert_eq!(form("amount=1&secret=2&secret=3"), Ok(expected.clone()));
    assert_eq!(in_parts(&[("amount", "1"), ("secret", "2"), ("secret", "3")]), Ok(expected));
}

#[test]
fn n04_a_float_in_a_form_is_no_long() {
    for amount in ["1.0", "1.5", "1e2", "9223372036854775808", "%201", "", "0x1", "+1", "%2B1"] {
        let found = form(&format!("amount={amount}"));
        assert!(matches!(found, Err(NotRepresentable(_))), "{amount}: {found:?}");
    }
    for amount in ["1.0", "9223372036854775808", " 1", "", "1\r\n"] {
        let found = in_parts(&[("amount", amount)]);
        assert!(matches!(found, Err(NotRepresentable(_))), "{amount}: {found:?}");
    }
    assert!(matches!(form("note=x"), Err(NotRepresentable(_))), "required");
    assert!(matches!(in_parts(&[("note", "x")]), Err(NotRepresentable(_))), "required");
}

#[test]
fn a_content_type_that_is_not_declared_is_refused() {
    for kind in [
        "text/plain",
        "application/merge-patch+json",
        "application/octet-stream",
        "multipart/mixed; boundary=cut-here",
    ] {
        let found = read(&all(), kind, br#"{"amount": 5}"#);
        assert!(matches!(found, Err(NotRepresentable(_))), "{kind}: {found:?}");
    }
    let found = read(&all(), "application/x-www-form-urlencoded; charset=utf-16", b"amount=1");
    assert!(matches!(found, Err(Malformed(_))));
    assert!(matches!(form("amount=1&_charset_=utf-16"), Err(Malformed(_))));
    assert!(matches!(in_parts(&[("amount", "1"), ("_charset_", "utf-7")]), Err(Malformed(_))));
}

#[test]
fn what_content_types_have_in_common_is_what_policies_read() {
    let two = catalog(&format!(
        "          application/json: {{schema: {{type: object, required: [a, b], properties: {{a: {{type: integer}}, b: {{type: integer}}, c: {{type: string}}}}}}}}\n\
         \x20         {FORM}: {{schema: {{type: object, required: [a], properties: {{a: {{type: integer}}, c: {{type: boolean}}, d: {{type: string}}}}}}}}"
    ));
    let shown = super::types::shown(operation(&two, "post").body_type().unwrap());
    assert_eq!(shown, "{a: Long, b?: Long, d?: String}", "`c` is of two types");
    let found = read(&two, "application/json", br#"{"a": 1, "b": 2, "c": "x"}"#).unwrap();
    assert_eq!(found.len(), 2);
    assert!(matches!(read(&two, "application/json", br#"{"a": 1}"#), Err(NotRepresentable(_))));
    assert_eq!(read(&two, FORM, b"a=1&d=x&c=true").unwrap().len(), 2);
}

#[test]
fn fields_of_forms_are_written_as_their_encoding_says() {
    let styled = catalog(&format!(
        "          {FORM}:\n            schema: {{type: object, properties: {{l: {{type: array, items: {{type: integer}}}}, p: {{type: array, items: {{type: integer}}}}, o: {{type: object, properties: {{a: {{type: integer}}}}}}, d: {{type: string}}}}}}\n\
         \x20           encoding: {{l: {{style: form, explode: false}}, p: {{style: pipeDelimited}}, o: {{contentType: application/json}}, d: {{style: deepObject}}}}"
    ));
    let shown = super::types::shown(operation(&styled, "post").body_type().unwrap());
    assert_eq!(shown, "{l?: Set<Long>, o?: {a?: Long}, p?: Set<Long>}");
    let found = read(&styled, FORM, b"l=1,2&p=3|4&o=%7B%22a%22:5%7D").unwrap();
    assert_eq!(found["p"], Value::Set(vec![Value::Long(3), Value::Long(4)]));
    assert_eq!(found["o"], Value::Record(Record::from([("a".into(), Value::Long(5))])));
}

fn with_files() -> Catalog {
    catalog(
        "          multipart/form-data: {schema: {type: object, required: [doc], properties: {doc: {type: string, format: binary}, \
         more: {type: array, items: {type: string, format: binary}}, meta: {type: object, properties: {a: {type: integer}, raw: {type: string, format: binary}}}, \
         fake: {type: object, required: [filename, size], properties: {filename: {type: string}, size: {type: integer}, type: {type: string}}}, note: {type: string}}}}",
    )
}

#[test]
fn of_files_policies_read_names_sizes_and_types() {
    let catalog = with_files();
    let shown = super::types::shown(operation(&catalog, "post").body_type().unwrap());
    assert_eq!(
        shown,
        "{doc: {filename: String, size: Long, type?: String}, meta?: {a?: Long, raw?: String}, \
         more?: Set<{filename: String, size: Long, type?: String}>, note?: String}"
    );
    let file = "Content-Disposition: form-data; name=\"doc\"; filename=\"a b.pdf\"\r\nContent-Type: Application/PDF";
    let more = "Content-Disposition: form-data; name=more; filename=\"c\"";
    let meta = "Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json; charset=utf-8";
    let whole = parts(&[
        (file, "%PDF\r\n--cut\r\n"),
        (more, "x"),
        (more, ""),
        (meta, "{\"a\": 3}"),
        (&named("note"), "n"),
    ]);
    let found = read(&catalog, PARTS, &whole).unwrap();
    let expected = Record::from([
        ("filename".into(), text("a b.pdf")),
        ("size".into(), Value::Long(13)),
        ("type".into(), text("application/pdf")),
    ]);
    assert_eq!(found["doc"], Value::Record(expected));
    assert_eq!(found["meta"], Value::Record(Record::from([("a".into(), Value::Long(3))])));
    let Value::Set(more) = &found["more"] else { panic!("{found:?}") };
    assert_eq!(more.len(), 2);
    let refused = |parts: &[u8]| read(&catalog, PARTS, parts);
    assert!(
        matches!(refused(&simple(&[("doc", "x")])), Err(NotRepresentable(_))),
        "a text, no file"
    );
    let note = "Content-Disposition: form-data; name=\"note\"; filename=\"x\"";
    assert!(
        matches!(refused(&parts(&[(file, "x"), (note, "x")])), Err(Malformed(_))),
        "a file, no text"
    );
    let meta = named("meta");
    assert!(matches!(refused(&parts(&[(file, "x"), (&meta, "{}")])), Err(NotRepresentable(_))));
}

fn whole() -> String {
    String::from_utf8(simple(&[("amount", "1")])).unwrap()
}

/// The whole form, with something else in it.
fn changed(from: &str, to: &str) -> String {
    whole().replacen(from, to, 1)
}

#[test]
fn a_boundary_reads_one_way() {
    let whole = whole();
    let kinds: [(&str, bool); 12] = [
        ("multipart/form-data; boundary=\"cut-here\"", true),
        ("Multipart/Form-Data;boundary=cut-here", true),
        ("multipart/form-data", false),
        ("multipart/form-data; boundary=", false),
        ("multipart/form-data; boundary=cut-here; boundary=x", false),
        ("multipart/form-data; charset=utf-8; boundary=cut-here", false),
        ("multipart/form-data; boundary=cut-here; charset=utf-8", false),
        ("multipart/form-data; boundary*=utf-8''cut-here", false),
        ("multipart/form-data; boundary=\"cut\\-here\"", false),
        ("multipart/form-data; boundary=\"cut-here", false),
        ("multipart/form-data; boundary=cut-here,", false),
        ("multipart/form-data; boundary=other", false),
    ];
    for (kind, fits) in kinds {
        let found = read(&all(), kind, whole.as_bytes());
        assert_eq!(found.is_ok(), fits, "{kind}: {found:?}");
        assert!(fits || matches!(found, Err(Malformed(_))), "{kind}: {found:?}");
    }
}

#[test]
fn a_form_in_parts_is_cut_in_one_way() {
    let whole = whole();
    let cases = [
        ("before it", format!("x\r\n{whole}")),
        ("a line before it", format!("\r\n{whole}")),
        ("after it", format!("{whole}x")),
        ("no end", changed("--cut-here--\r\n", "")),
        ("half an end", changed("--cut-here--\r\n", "--cut-here-\r\n")),
        ("only line feeds", whole.replace("\r\n", "\n")),
        ("a line feed before the boundary", changed("1\r\n--cut-here--", "1\n--cut-here--")),
        ("padding", changed("--cut-here\r\n", "--cut-here \r\n")),
        ("a longer boundary", changed("1\r\n", "1\r\n--cut-heres\r\n")),
        ("the boundary in a line", changed("1\r\n", "1--cut-here\r\n")),
        (
            "a hidden part",
            changed(
                "1\r\n",
                "1\n--cut-here\nContent-Disposition: form-data; name=\"amount\"\n\n9\r\n",
            ),
        ),
    ];
    for (what, text) in cases {
        let found = read(&all(), PARTS, text.as_bytes());
        assert!(matches!(found, Err(Malformed(_))), "{what}: {found:?}");
    }
}

#[test]
fn the_head_of_a_part_reads_one_way() {
    let cases = [
        ("no head", changed("Content-Disposition: form-data; name=\"amount\"\r\n", "")),
        ("a folded line", changed("; name", ";\r\n name")),
        ("another kind", changed("form-data;", "attachment;")),
        ("two names", changed("name=\"amount\"", "name=\"amount\"; name=\"b\"")),
        ("a backslash", changed("\"amount\"", "\"amou\\nt\"")),
        ("a name in another coding", changed("name=\"amount\"", "name*=utf-8''amount")),
        ("a file name in another coding", changed("\"amount\"", "\"amount\"; filename*=utf-8''x")),
        ("a space in a head", changed("Content-Disposition:", "Content-Disposition :")),
        (
            "two heads",
            changed("\r\n\r\n", "\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n"),
        ),
        (
            "another transfer encoding",
            changed("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
        ),
        ("another length", changed("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")),
        (
            "another charset",
            changed("\r\n\r\n", "\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n"),
        ),
    ];
    for (what, text) in cases {
        let found = read(&all(), PARTS, text.as_bytes());
        assert!(matches!(found, Err(Malformed(_))), "{what}: {found:?}");
    }
    let said = changed(
        "\r\n\r\n",
        "\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: 1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
    );
    assert!(read(&all(), PARTS, said.as_bytes()).is_ok());
}

#[test]
fn forms_have_bounds() {
    let many = format!("amount=1{}", "&x=1".repeat(999));
    assert!(matches!(form(&many), Err(Malformed(_))));
    let parts: Vec<(&str, &str)> =
        std::iter::once(("amount", "1")).chain((0..999).map(|_| ("x", "1"))).collect();
    assert!(matches!(in_parts(&parts), Err(Malformed(_))));
    let long = "x".repeat(5_000);
    assert!(matches!(in_parts(&[("amount", "1"), (&long, "1")]), Err(Malformed(_))));
}
