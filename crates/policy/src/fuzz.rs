//! What holds for any document that is loaded and any body that is read. Fuzz targets call this with bytes of
//! their choice; the tests here call it for seconds, with bytes that are made to be interesting.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what does not hold fails by panicking"
)]

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use prost_reflect::{
    DynamicMessage, MessageDescriptor, Value as Reflected,
    prost::Message,
    prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MethodDescriptorProto, ServiceDescriptorProto,
        field_descriptor_proto::{Label, Type},
    },
};
use serde_json::json;

use crate::{Catalog, Record, ServiceSource, Value, catalog::Operation};

/// An OpenAPI document: it loads, or says where it is wrong; what has loaded can be asked for anything.
pub fn openapi(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = service(&json!({"OpenApi": {"path": "api.yaml", "text": text}}));
    match Catalog::load(&[source]) {
        Err(errors) => {
            assert!(!errors.is_empty(), "it says nothing of what is wrong");
            // A carriage return alone ends a line of YAML, too (YAML 1.2.2, 5.4).
            let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
            for error in errors {
                assert!(error.line.is_none_or(|line| (1..=lines + 1).contains(&line)), "{error:?}");
            }
        }
        Ok(catalog) => {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, json_type())]);
            for operation in catalog.services().flat_map(crate::catalog::Service::operations) {
                let path: Vec<(&str, String)> = Vec::new();
                let _read = operation.params(&path, Some("a=1&b[c]=2"), &headers);
                let _read = operation.body(&headers, None, b"{\"a\": 1}");
            }
        }
    }
}

fn json_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

/// A message: what is read of it is what the library reads of it.
pub fn protobuf(bytes: &[u8]) {
    PROTOBUF.with(|(catalog, message)| {
        let operation = only(catalog, "Create");
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let framed = [&[0][..], &length, bytes].concat();
        let kind = HeaderValue::from_static("application/grpc");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        // As they come, too: the frame is a stranger's.
        let _read = operation.body(&headers, None, bytes);
        let Ok(Some(record)) = operation.body(&headers, None, &framed) else { return };
        // What does not map may still be broken to the library.
        if let Ok(decoded) = DynamicMessage::decode(message.clone(), bytes) {
            same(&record, &decoded);
        }
    });
}

fn same(record: &Record, decoded: &DynamicMessage) {
    for (name, value) in record {
        let other = decoded.get_field_by_name(name).expect("a declared field");
        match (value, &*other) {
            (Value::Long(one), Reflected::I64(other)) => assert_eq!(one, other, "{name}"),
            (Value::Long(one), Reflected::I32(other)) => {
                assert_eq!(*one, i64::from(*other), "{name}");
            }
            (Value::Long(one), Reflected::U64(other)) => {
                assert_eq!(u64::try_from(*one).unwrap(), *other, "{name}");
            }
            (Value::Bool(one), Reflected::Bool(other)) => assert_eq!(one, other, "{name}"),
            (Value::String(one), Reflected::String(other)) => assert_eq!(one, other, "{name}"),
            (Value::Set(items), Reflected::List(others)) => {
                assert_eq!(items.len(), others.len(), "{name}");
                for (one, other) in items.iter().zip(others) {
                    assert!(
                        matches!((one, other), (Value::Long(one), Reflected::I32(other)) if *one == i64::from(*other)),
                        "{name}"
                    );
                }
            }
            (Value::Record(record), Reflected::Message(other)) => same(record, other),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A form of either kind: the first byte says which. What is read of it, another reader reads as well.
pub fn form(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let is_plain = kind % 2 == 0;
    let kind = if is_plain {
        "application/x-www-form-urlencoded"
    } else {
        "multipart/form-data; boundary=x"
    };
    FORM.with(|catalog| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let Ok(Some(record)) = only(catalog, "post").body(&headers, None, bytes) else { return };
        let Value::Long(amount) = &record["amount"] else { panic!("{record:?}") };
        if is_plain {
            let pairs = url::form_urlencoded::parse(bytes).filter(|(name, _)| name == "amount");
            let values: Vec<_> = pairs.map(|(_, value)| value.into_owned()).collect();
            assert_eq!(values.len(), 1, "{values:?}");
            assert_eq!(values[0].parse::<i64>().unwrap(), *amount);
        } else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            // Cut as leniently as anybody does, there is one part of that name.
            let parts = text.split("--x").filter(|part| {
                let head =
                    part.trim_start().split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
                let names = |line: &str| {
                    line.trim_start().starts_with("content-disposition")
                        && (line.contains("name=\"amount\"") || line.contains("name=amount"))
                };
                !head.contains("filename") && head.split(['\r', '\n']).any(names)
            });
            assert_eq!(parts.count(), 1, "{text:?}");
        }
    });
}

thread_local! {
    static PROTOBUF: (Catalog, MessageDescriptor) = refunds();
    static FORM: Catalog = catalog(&service(&json!({"OpenApi": {"path": "api.yaml", "text": FORMS}})));
}

const FORMS: &str = "
openapi: 3.1.0
paths:
  /x:
    post:
      operationId: post
      requestBody:
        content:
          application/x-www-form-urlencoded: &form
            schema: {type: object, required: [amount], properties: {amount: {type: integer}, tags: {type: array, items: {type: string}}}}
          multipart/form-data: *form
";

fn service(operations: &serde_json::Value) -> ServiceSource {
    serde_json::from_value(json!({
        "name": "shop", "hosts": ["shop.test"], "path_prefix": null, "labels": {},
        "instances": {"one": "http://127.0.0.1:1"}, "addressed_only": [],
        "operations": operations, "groups": {}, "max_grant": "8h",
        "strict_audit": false, "place": ["services.yaml", null],
    }))
    .expect("a service")
}

fn catalog(source: &ServiceSource) -> Catalog {
    Catalog::load(std::slice::from_ref(source)).expect("services")
}

fn only<'a>(catalog: &'a Catalog, name: &str) -> &'a Operation {
    catalog.operation(&format!("shop.{name}").parse().unwrap()).expect("an operation")
}

fn refunds() -> (Catalog, MessageDescriptor) {
    let field = |name: &str, number, ty: Type, label: Label| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(ty.into()),
        label: Some(label.into()),
        type_name: (ty == Type::Message).then(|| ".shop.Refund".to_owned()),
        ..FieldDescriptorProto::default()
    };
    let inner = DescriptorProto {
        name: Some("Inner".to_owned()),
        field: vec![field("text", 1, Type::String, Label::Optional)],
        ..DescriptorProto::default()
    };
    let mut nested = field("inner", 6, Type::Message, Label::Optional);
    nested.type_name = Some(".shop.Inner".to_owned());
    let refund = DescriptorProto {
        name: Some("Refund".to_owned()),
        field: vec![
            field("amount", 1, Type::Int64, Label::Optional),
            field("serial", 2, Type::Uint64, Label::Optional),
            field("note", 3, Type::String, Label::Optional),
            field("parts", 4, Type::Sint32, Label::Repeated),
            field("urgent", 5, Type::Bool, Label::Optional),
            nested,
            field("small", 7, Type::Int32, Label::Optional),
            field("rate", 8, Type::Double, Label::Optional),
            field("parent", 9, Type::Message, Label::Optional),
        ],
        ..DescriptorProto::default()
    };
    let method = MethodDescriptorProto {
        name: Some("Create".to_owned()),
        input_type: Some(".shop.Refund".to_owned()),
        output_type: Some(".shop.Refund".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".to_owned()),
        package: Some("shop".to_owned()),
        message_type: vec![refund, inner],
        service: vec![ServiceDescriptorProto {
            name: Some("Refunds".to_owned()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let mut source = service(&json!("Methods"));
    source.operations = crate::bundle::OperationsSource::Protobuf {
        path: "shop.binpb".to_owned(),
        set,
        services: Vec::new(),
    };
    let catalog = catalog(&source);
    let message = only(&catalog, "Create").protobuf().expect("a method").input.clone();
    (catalog, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn joined(words: &'static [&'static [u8]], most: usize) -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            6 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(word, 0..most).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_document_loads_or_says_why_not(
            bytes in joined(
                &[b"openapi: 3.1.0\n", b"paths:\n", b"  /x:\n", b"    post:\n", b"      operationId: a\n", b"      parameters:\n",
                  b"        - {name: a, in: query, schema: {type: integer}}\n", b"        - {name: b, in: query, style: deepObject, schema: {properties: {c: {}}}}\n",
                  b"        - {$ref: '#/paths'}\n", b"      requestBody: {content: {application/json: {schema: {$ref: '#'}}}}\n",
                  b"      requestBody: {content: {multipart/form-data: {schema: {properties: {f: {format: binary, type: string}}}}}}\n",
                  b"  /{a}/{b}:\n", b"components: {}\n", b"$ref: '#/paths/~1x'\n"],
                14,
            )
        ) {
            super::openapi(&bytes);
        }

        #[test]
        fn any_message_is_what_the_library_reads(
            bytes in joined(
                &[b"\x08\x05", b"\x10\x07", b"\x1a\x01a", b"\x20\x03", b"\x22\x02\x01\x02", b"\x28\x01", b"\x32\x03\x0a\x01a", b"\x38\x05",
                  b"\x41\0\0\0\0\0\0\0\0", b"\x4a\0", b"\x9b\x06\x9c\x06", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80", b"\x08", b"\x32"],
                8,
            )
        ) {
            super::protobuf(&bytes);
        }

        #[test]
        fn any_form_is_what_another_reader_reads(
            bytes in joined(
                &[b"amount", b"=", b"&", b"1", b"tags=x", b";", b"%61", b"+", b"[]", b"%", b"Amount", b"other=2", b"amount=1"],
                10,
            )
        ) {
            super::form(&[&[0][..], &bytes].concat());
        }

        #[test]
        fn any_form_in_parts_is_cut_in_one_way(
            bytes in joined(
                &[b"--x", b"--", b"\r\n", b"\n", b"Content-Disposition: form-data; name=\"amount\"\r\n\r\n1\r\n", b"--x\r\nContent-Disposition: form-data; name=\"amount\"\r\n\r\n1\r\n",
                  b"--x\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\nx\r\n", b"--x--\r\n", b"Content-Type: text/plain\r\n", b"; filename=\"y\"", b"\"", b"name=amount"],
                10,
            )
        ) {
            super::form(&[&[1][..], &bytes].concat());
        }
    }
}
