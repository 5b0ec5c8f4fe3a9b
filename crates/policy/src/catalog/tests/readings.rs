//! What one reader takes for a declared name or value, and another one does not.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::{
    forms::{FORM, PARTS, named, parts, simple},
    *,
};
use crate::{
    catalog::InspectError::{self, Malformed, NotRepresentable},
    context::{Record, Value},
};

/// `post` has parameters in its query, and a form of both kinds.
const DOCUMENT: &str = r"
openapi: 3.1.0
paths:
  /x:
    post:
      operationId: post
      parameters:
        - {name: limit, in: query, schema: {type: integer}}
        - {name: user_id, in: query, schema: {type: string}}
        - {name: tag, in: query, schema: {type: array, items: {type: string}}}
        - {name: both, in: query, schema: {type: integer}}
        - {name: 'page[size]', in: query, schema: {type: integer}}
        - {name: filter, in: query, style: deepObject, schema: {type: object, properties: {owner: {type: string}}}}
        - {name: X-Parts, in: header, schema: {type: array, items: {type: string}}}
      requestBody:
        content:
          application/json: {schema: &schema {type: object, properties: {amount: {type: integer}, both: {type: integer}, tags: {type: array, items: {type: string}}, note: {type: string}}}}
          application/x-www-form-urlencoded: {schema: *schema}
          multipart/form-data: {schema: *schema}
";

fn post(kind: &str, query: Option<&str>, bytes: &[u8]) -> Result<Option<Record>, InspectError> {
    let catalog = payments(openapi(DOCUMENT));
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
    operation(&catalog, "post").body(&headers, query, bytes)
}

fn query(text: &str) -> Result<Option<Record>, InspectError> {
    let catalog = payments(openapi(DOCUMENT));
    operation(&catalog, "post").params(&[], Some(text), &HeaderMap::new())
}

/// A form with one field.
fn fields(name: &str, value: &str) -> [Result<Option<Record>, InspectError>; 2] {
    let form = format!("{name}={value}");
    [post(FORM, None, form.as_bytes()), post(PARTS, None, &simple(&[(name, value)]))]
}

#[test]
fn n04_a_query_that_is_merged_with_a_form_is_malformed() {
    let merged = |query: &str| {
        [
            post(FORM, Some(query), b"amount=1"),
            post(PARTS, Some(query), &simple(&[("amount", "1")])),
        ]
    };
    for query in [
        "amount=9",
        "Amount=9",
        "x=1;amount=9",
        "amount;x=1",
        "%61mount=9",
        "amount[]=9",
        "[amount]=9",
        "+amount=9",
        "tags=9",
        "note[x]=9",
    ] {
        for found in merged(query) {
            assert!(matches!(found, Err(Malformed(_))), "{query}: {found:?}");
        }
        let json = post("application/json", Some(query), br#"{"amount": 1}"#);
        assert!(json.is_ok(), "nobody merges JSON with a query: {query}");
    }
    for query in ["", "limit=1", "both=1", "other=1", "filter[owner]=x", "x=%2C"] {
        for found in merged(query) {
            assert!(found.is_ok(), "{query}: {found:?}");
        }
    }
}

#[test]
fn n04_a_field_that_is_merged_with_the_query_is_malformed() {
    for name in ["limit", "Limit", "user.id", "filter[owner]", "page[size]", "tag[]"] {
        for found in fields(name, "9") {
            assert!(matches!(found, Err(Malformed(_))), "{name}: {found:?}");
        }
    }
    let found = post(FORM, None, b"x=1;limit=9");
    assert!(matches!(found, Err(Malformed(_))), "{found:?}");
    for name in ["both", "other", "page[number]"] {
        for found in fields(name, "9") {
            assert!(found.is_ok(), "{name}: {found:?}");
        }
    }
}

#[test]
fn n04_what_parsers_make_of_undeclared_names_is_malformed() {
    for name in [
        " amount",
        "amount ",
        "[amount]",
        "amount[",
        "amount[0]",
        "amount\0x",
        "\u{feff}amount",
        "AMOUNT",
    ] {
        let encoded: Vec<_> = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let encoded = encoded.concat();
        let form = format!("amount=1&{encoded}=9");
        let found = post(FORM, None, form.as_bytes());
        assert!(matches!(found, Err(Malformed(_))), "{name:?}: {found:?}");
        let found = post(PARTS, None, &simple(&[("amount", "1"), (name, "9")]));
        assert!(matches!(found, Err(Malformed(_))), "{name:?}: {found:?}");
    }
    for text in ["amount=1& amount=9", "amount=1&+amount=9", "\u{feff}amount=9&amount=1"] {
        let found = post(FORM, None, text.as_bytes());
        assert!(matches!(found, Err(Malformed(_))), "{text:?}: {found:?}");
    }
    for text in [
        "user.id=9",
        "user%20id=9",
        "user+id=9",
        "user[id=9",
        "User_ID=9",
        "limit%00x=9",
        "[filter][owner]=9",
        "filter[%20owner]=9",
        "filter[Owner]=9",
        "filter.owner=9",
        "page[size][]=9",
        "page[%20size]=9",
        "page=9",
    ] {
        let found = query(text);
        assert!(matches!(found, Err(Malformed(_))), "{text:?}: {found:?}");
    }
    let found = query("user[name]=1&page[size]=2&page[number]=3&filter[owner]=o&filter[other]=x");
    assert_eq!(found.unwrap().unwrap().len(), 2);
}

#[test]
fn n04_semicolons_separate_nothing_and_everything() {
    for text in ["limit=1;x=9", "limit;x=9", "x=9;limit=1", "x;limit", "filter[owner]=a;b"] {
        assert!(matches!(query(text), Err(Malformed(_))), "{text}");
    }
    for text in ["x=1;y=2", "x;y=2", "user_id=a%3Bb"] {
        assert!(query(text).is_ok(), "{text}");
    }
}

#[test]
fn a_comma_in_an_item_of_its_own_is_malformed() {
    for text in ["tag=a,b", "tag=a&tag=b%2Cc"] {
        assert!(matches!(query(text), Err(Malformed(_))), "{text}");
    }
    assert!(query("tag=a&tag=b&user_id=a,b").is_ok(), "a text may have one");
    for found in fields("tags", "a,b") {
        assert!(matches!(found, Err(Malformed(_))), "{found:?}");
    }
    for found in fields("note", "a,b") {
        assert!(found.is_ok(), "{found:?}");
    }
}

#[test]
fn a_query_and_a_form_have_fewer_names_than_any_server_reads() {
    let form = |names: usize| format!("amount=1{}", "&".repeat(names));
    assert!(post(FORM, None, form(990).as_bytes()).is_ok());
    for (query, text) in
        [(None, form(999)), (Some(";".repeat(500)), form(500)), (Some("&".repeat(500)), form(500))]
    {
        let found = post(FORM, query.as_deref(), text.as_bytes());
        assert!(matches!(found, Err(Malformed(_))), "{found:?}");
    }
    let found = post(FORM, None, format!("x{}", ";".repeat(999)).as_bytes());
    assert!(matches!(found, Err(Malformed(_))), "{found:?}");
    assert!(matches!(query(&"x&".repeat(999)), Err(Malformed(_))));
}

#[test]
fn a_list_of_a_header_has_no_quotation_marks() {
    let catalog = payments(openapi(DOCUMENT));
    let read = |value| {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-parts"),
            HeaderValue::from_static(value),
        )]);
        operation(&catalog, "post").params(&[], None, &headers)
    };
    assert!(read("a, b").is_ok());
    assert!(matches!(read("\"a, b\""), Err(Malformed(_))));
}

#[test]
fn a_part_is_what_its_declaration_says() {
    let json = |name: &str, text| {
        let head = format!("{}\r\nContent-Type: application/json", named(name));
        post(PARTS, None, &parts(&[(&head, text)]))
    };
    for (name, text) in [("note", "\"a\""), ("amount", "1"), ("tags", "\"a\"")] {
        assert!(matches!(json(name, text), Err(NotRepresentable(_))), "{name} is not JSON");
    }
    let marked = post(PARTS, None, &simple(&[("note", "\u{feff}a")]));
    assert!(matches!(marked, Err(Malformed(_))), "{marked:?}");
    let coded = payments(openapi(
        "openapi: 3.1.0\npaths:\n  /x:\n    post:\n      operationId: post\n      requestBody:\n        content:\n          multipart/form-data:\n            \
         schema: {type: object, properties: {note: {type: string}}}\n            encoding: {note: {contentType: application/json}}\n",
    ));
    let read = |head: &str, text| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(PARTS))]);
        operation(&coded, "post").body(&headers, None, &parts(&[(head, text)]))
    };
    let head = format!("{}\r\nContent-Type: application/json", named("note"));
    let expected = Record::from([("note".into(), Value::String("a".to_owned()))]);
    assert_eq!(read(&head, "\"a\""), Ok(Some(expected)));
    assert!(matches!(read(&named("note"), "\"a\""), Err(NotRepresentable(_))));
}

#[test]
fn the_name_of_a_file_has_no_path() {
    let catalog = payments(openapi(
        "openapi: 3.1.0\npaths:\n  /x:\n    post:\n      operationId: post\n      requestBody:\n        content:\n          multipart/form-data:\n            \
         schema: {type: object, properties: {doc: {type: string, format: binary}}}\n",
    ));
    let read = |filename: &str| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(PARTS))]);
        let head = format!("{}; filename=\"{filename}\"", named("doc"));
        operation(&catalog, "post").body(&headers, None, &parts(&[(&head, "x")]))
    };
    for refused in ["../a", "/etc/passwd", "a\\b", "a%2e", "a%22b"] {
        assert!(matches!(read(refused), Err(Malformed(_))), "{refused}");
    }
    assert!(matches!(read(""), Err(NotRepresentable(_))));
    for fine in ["a b.pdf", "100%.pdf", "ä.txt"] {
        assert!(read(fine).is_ok(), "{fine}");
    }
}

#[test]
fn keys_are_no_parameters() {
    let catalog = payments(openapi(
        r"
openapi: 3.1.0
paths:
  /x:
    get:
      operationId: get
      parameters:
        - {name: X-Own, in: header, schema: {type: string}}
        - {name: X-Fine, in: header, schema: {type: string}}
        - {name: X-Auth-Key, in: header, schema: {type: string}}
        - {name: X-Access-Key, in: header, schema: {type: string}}
        - {name: X-Session-Id, in: header, schema: {type: string}}
        - {name: pass, in: query, schema: {type: string}}
        - {name: Pass, in: query, schema: {type: string}}
components:
  securitySchemes:
    one: {$ref: '#/components/x-shared/own'}
    two: {type: apiKey, in: query, name: pass}
  x-shared:
    own: {type: apiKey, in: header, name: x-own}
",
    ));
    let ty = operation(&catalog, "get").params_type().unwrap();
    assert_eq!(super::types::shown(ty), "{X-Fine?: String}");
}

#[test]
fn what_is_read_only_by_reference_is_not_required() {
    let catalog = payments(openapi(
        r"
openapi: 3.1.0
paths:
  /x:
    post:
      operationId: post
      requestBody:
        content:
          application/json: {schema: {type: object, required: [id, note, made, by, own], properties: {id: {$ref: '#/components/schemas/Id'}, note: {type: string},
            Amount: {type: integer}, amount: {type: integer}, made: {allOf: [{$ref: '#/components/schemas/Id'}]}, by: {allOf: [{type: string}, {readOnly: true}]}, own: {allOf: [{type: string}, {maxLength: 9}]}}}}
components:
  schemas:
    Id: {type: string, readOnly: true}
",
    ));
    let ty = operation(&catalog, "post").body_type().unwrap();
    let shown = super::types::shown(ty);
    assert!(shown.starts_with("{by?: ") && shown.contains("id?: String, made?: String"), "{shown}");
    assert!(shown.contains("note: String"), "{shown}");
    // Many a reader takes them for one.
    assert!(!shown.to_lowercase().contains("amount"), "{shown}");
}
