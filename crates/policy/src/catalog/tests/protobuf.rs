//! Operations from descriptors, and messages as records.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU32, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use proptest::prelude::*;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value as Reflected,
    prost::Message,
};

use super::*;
use crate::{
    bundle::OperationGroup,
    catalog::{
        InspectError::{self, Malformed, NotRepresentable, TooLarge},
        types::Type,
    },
    context::{Record, Value},
};

const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/protobuf/any.proto";
import "google/protobuf/timestamp.proto";
service Refunds {
  rpc Find(Wanted) returns (Refund) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Create(Refund) returns (Refund);
  rpc Upload(stream Refund) returns (Refund);
  rpc Watch(Wanted) returns (stream Refund);
}
service Other { rpc Find(Wanted) returns (Refund); }
message Wanted { string id = 1; }
message Refund {
  string id = 1;
  int64 amount = 2;
  Currency currency = 3;
  repeated string tags = 4;
  Customer customer = 5;
  uint64 serial = 6;
  optional string note = 7;
  double rate = 8;
  map<string, string> labels = 9;
  repeated sint32 parts = 10;
  int32 small = 11;
  uint32 count = 12;
  sint64 delta = 13;
  fixed32 f32 = 14;
  fixed64 f64 = 15;
  sfixed32 s32 = 16;
  sfixed64 s64 = 17;
  bool urgent = 18;
  bytes blob = 19;
  google.protobuf.Any any = 20;
  google.protobuf.Timestamp at = 21;
  oneof choice { string left = 22; int64 right = 23; }
  repeated Customer others = 24;
  repeated fixed64 wide = 25;
  repeated Currency currencies = 26;
}
message Customer { string email = 1; Customer parent = 2; optional bool vip = 3; }
enum Currency { NONE = 0; EUR = 1; USD = 2; }
"#;

/// The descriptors of [`PROTO`].
static SET: LazyLock<Vec<u8>> = LazyLock::new(|| set(PROTO));

static SHOP: LazyLock<Catalog> = LazyLock::new(|| payments(described(&SET, &["shop.v1.Refunds"])));

pub(super) fn set(text: &str) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("portcullis-descriptors-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shop.proto"), text).unwrap();
    let compiled = protox::compile(["shop.proto"], [&folder]);
    std::fs::remove_dir_all(&folder).unwrap();
    compiled.unwrap().encode_to_vec()
}

pub(super) fn described(set: &[u8], services: &[&str]) -> OperationsSource {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    OperationsSource::Protobuf { path: "apis/shop.binpb".to_owned(), set: set.to_vec(), services }
}

fn shop() -> &'static Catalog {
    &SHOP
}

fn refund() -> MessageDescriptor {
    let pool = DescriptorPool::decode(SET.as_slice()).unwrap();
    pool.get_message_by_name("shop.v1.Refund").unwrap()
}

fn grpc() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))])
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

pub(super) fn read(catalog: &Catalog, message: &[u8]) -> Result<Record, InspectError> {
    let read = operation(catalog, "Create").body(&grpc(), None, &framed(0, message));
    read.map(|record| record.unwrap())
}

/// A field of the wire by number and kind, and what it holds.
pub(super) fn field(number: u32, kind: u32, content: &[u8]) -> Vec<u8> {
    let mut tag = Vec::new();
    prost_reflect::prost::encoding::encode_varint(u64::from(number << 3 | kind), &mut tag);
    [&tag, content].concat()
}

#[test]
fn methods_are_operations_with_groups_paths_and_types() {
    let catalog = shop();
    let service = catalog.service(&"payments".parse().unwrap()).unwrap();
    let found: Vec<_> = service
        .operations()
        .map(|found| (found.name().local(), found.method(), found.path().unwrap(), found.group()))
        .collect();
    let path = |name: &str| format!("/shop.v1.Refunds/{name}");
    assert_eq!(
        found,
        [
            ("Create", "POST", path("Create"), OperationGroup::Write),
            ("Find", "POST", path("Find"), OperationGroup::Read),
            ("Upload", "POST", path("Upload"), OperationGroup::Write),
            ("Watch", "POST", path("Watch"), OperationGroup::Write),
        ]
    );
    let method = operation(catalog, "Watch").protobuf().unwrap();
    assert_eq!((method.client_streaming, method.server_streaming), (false, true));
    assert_eq!(method.input.full_name(), "shop.v1.Wanted");
    assert_eq!(method.output.full_name(), "shop.v1.Refund");
    let ty = operation(catalog, "Create").body_type().unwrap();
    let names: Vec<&str> = ty.fields.keys().map(|name| &**name).collect();
    assert_eq!(
        names,
        [
            "amount",
            "at",
            "count",
            "currencies",
            "currency",
            "customer",
            "delta",
            "f32",
            "f64",
            "id",
            "note",
            "others",
            "parts",
            "s32",
            "s64",
            "serial",
            "small",
            "tags",
            "urgent",
            "wide"
        ],
        "no float, map, choice, bytes or Any"
    );
    assert!(ty.fields["amount"].required && ty.fields["tags"].required);
    assert!(!ty.fields["note"].required && !ty.fields["customer"].required);
    let Type::Record(customer) = &ty.fields["customer"].ty else { panic!() };
    assert_eq!(customer.fields.len(), 2, "what holds itself is left out");
}

#[test]
fn methods_of_one_name_are_called_with_their_services() {
    let catalog = payments(described(&SET, &[]));
    let service = catalog.service(&"payments".parse().unwrap()).unwrap();
    let names: Vec<_> = service.operations().map(|found| found.name().local()).collect();
    assert_eq!(names, ["Create", "Other.Find", "Refunds.Find", "Upload", "Watch"]);
}

#[test]
fn what_is_wrong_with_a_set_is_said() {
    let one = |operations| errors(&[service("payments", operations)]).remove(0);
    let found = one(described(&SET, &["shop.v1.Refund"]));
    assert!(found.message.contains("no service `shop.v1.Refund`"), "{found:?}");
    assert!(found.help.unwrap().contains("`shop.v1.Refunds`"));
    let broken = OperationsSource::Protobuf {
        path: "apis/x.binpb".to_owned(),
        set: b"not a set".to_vec(),
        services: Vec::new(),
    };
    let found = one(broken);
    assert_eq!(found.file, "apis/x.binpb");
    assert!(found.help.unwrap().contains("--include_imports"));
    let none = one(described(&set("syntax = \"proto3\"; message A {}"), &[]));
    assert!(none.message.contains("no service of gRPC"), "{none:?}");
}

#[test]
fn n04_two_amounts_in_one_message_are_malformed() {
    let catalog = shop();
    let amount = |value: u8| field(2, 0, &[value]);
    let twice = read(catalog, &[amount(1), amount(2)].concat());
    assert!(matches!(&twice, Err(Malformed(what)) if what.contains("`amount`")), "{twice:?}");
    // An embedded message in two pieces, which readers merge.
    let piece = field(5, 2, &[3, 0x0a, 1, b'a']);
    assert!(matches!(read(catalog, &[piece.clone(), piece.clone()].concat()), Err(Malformed(_))));
    let inner = [field(1, 2, &[1, b'a']), field(1, 2, &[1, b'b'])].concat();
    let length = u8::try_from(inner.len()).unwrap();
    let nested = field(5, 2, &[&[length][..], &inner].concat());
    let found = read(catalog, &nested);
    assert!(matches!(&found, Err(Malformed(what)) if what.contains("customer.email")), "{found:?}");
    // Packed and not, in one list, is one reading.
    let mixed = [field(10, 0, &[2]), field(10, 2, &[2, 4, 6]), field(10, 0, &[1])].concat();
    let parts = read(catalog, &mixed).unwrap()["parts"].clone();
    assert_eq!(parts, Value::Set([1, 2, 3, -1].map(Value::Long).to_vec()));
}

#[test]
fn n04_an_unknown_field_stays_out() {
    let catalog = shop();
    let group = [field(100, 3, &[]), field(1, 0, &[5]), field(100, 4, &[])].concat();
    let unknown = [
        field(99, 0, &[1]),
        field(99, 0, &[2]),
        group,
        field(98, 2, &[2, 1, 2]),
        field(2, 0, &[7]),
    ];
    let found = read(catalog, &unknown.concat()).unwrap();
    assert_eq!(found["amount"], Value::Long(7));
    assert_eq!(found, read(catalog, &field(2, 0, &[7])).unwrap());
}

#[test]
fn n04_what_no_long_holds_is_not_representable() {
    let catalog = shop();
    let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(matches!(read(catalog, &field(6, 0, &over)), Err(NotRepresentable(_))), "serial");
    assert!(matches!(read(catalog, &field(15, 1, &[0xff; 8])), Err(NotRepresentable(_))), "f64");
    assert!(matches!(read(catalog, &field(3, 0, &[9])), Err(NotRepresentable(_))), "an enum");
    assert_eq!(read(catalog, &field(2, 0, &over)).unwrap()["amount"], Value::Long(-1));
    assert_eq!(read(catalog, &field(3, 0, &[1])).unwrap()["currency"], Value::String("EUR".into()));
}

#[test]
fn what_readers_cut_or_repair_is_malformed() {
    let catalog = shop();
    let wide = [0x80, 0x80, 0x80, 0x80, 0x20];
    let cases: [(&str, Vec<u8>); 12] = [
        ("int32 cut to its low bits", field(11, 0, &wide)),
        ("uint32 cut to its low bits", field(12, 0, &wide)),
        ("an enum cut to its low bits", field(3, 0, &wide)),
        ("a bool that is 2", field(18, 0, &[2])),
        ("a string as a number", field(1, 0, &[1])),
        ("a number as text", field(2, 2, &[1, 1])),
        ("no UTF-8", field(1, 2, &[1, 0xff])),
        ("cut off", field(1, 2, &[9, b'a'])),
        ("field zero", field(0, 0, &[1])),
        ("an end without a group", field(2, 4, &[])),
        ("an unknown kind", field(2, 7, &[])),
        ("eleven bytes of number", field(2, 0, &[0x80; 11])),
    ];
    for (what, message) in cases {
        assert!(matches!(read(catalog, &message), Err(Malformed(_))), "{what}");
    }
}

#[test]
fn a_call_has_one_message_and_says_how_it_is_compressed() {
    let catalog = shop();
    let create = operation(catalog, "Create");
    let message = field(2, 0, &[7]);
    let with = |coding: Option<&'static str>, bytes: &[u8]| {
        let mut headers = grpc();
        if let Some(coding) = coding {
            let name = HeaderName::from_static("grpc-encoding");
            headers.insert(name, HeaderValue::from_static(coding));
        }
        create.body(&headers, None, bytes)
    };
    let whole = framed(0, &message);
    assert!(with(None, &whole).is_ok());
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("two", [whole.clone(), whole.clone()].concat()),
        ("bytes after it", [whole.clone(), vec![0]].concat()),
        ("half of it", whole[..6].to_vec()),
        ("another flag", framed(2, &message)),
        ("compressed, nobody says how", framed(1, &message)),
    ] {
        assert!(matches!(with(None, &bytes), Err(Malformed(_))), "{what}");
    }
    let gzip = zipped(&message);
    assert_eq!(with(Some("gzip"), &framed(1, &gzip)), with(None, &whole));
    assert_eq!(with(Some("gzip"), &whole), with(None, &whole), "the flag says that it is not");
    assert!(matches!(with(Some("snappy"), &framed(1, &gzip)), Err(NotRepresentable(_))));
    let two = [gzip.clone(), gzip.clone()].concat();
    assert!(matches!(with(Some("gzip"), &framed(1, &two)), Err(Malformed(_))), "two members");
    assert!(matches!(with(Some("gzip"), &framed(1, &gzip[..9])), Err(Malformed(_))));
    let bomb = zipped(&vec![0; 4 << 20]);
    assert_eq!(with(Some("gzip"), &framed(1, &bomb)), Err(TooLarge));
    let mut json = HeaderMap::new();
    json.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+json"));
    assert!(matches!(create.body(&json, None, &whole), Err(NotRepresentable(_))));
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Any refund, as the library builds it.
fn any_refund() -> impl Strategy<Value = DynamicMessage> {
    let numbers = prop::collection::vec(any::<i64>(), 12);
    let texts = prop::collection::vec(".{0,8}", 6);
    (numbers, texts, any::<[bool; 12]>()).prop_map(|(numbers, texts, flags)| {
        let mut message = DynamicMessage::new(refund());
        let mut at = 0;
        for field in refund().fields() {
            at += 1;
            if !flags[at % 12] {
                continue;
            }
            let (number, text) = (numbers[at % 12], texts[at % 6].clone());
            let one = scalar(&field.kind(), number, &text);
            let value = match one {
                _ if field.is_map() => continue,
                Some(value) if field.is_list() => Reflected::List(vec![value.clone(), value]),
                Some(value) => value,
                None => continue,
            };
            message.set_field(&field, value);
        }
        message
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any number will do")]
fn scalar(kind: &Kind, number: i64, text: &str) -> Option<Reflected> {
    Some(match kind {
        Kind::Bool => Reflected::Bool(number > 0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Reflected::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Reflected::I64(number),
        Kind::Uint32 | Kind::Fixed32 => Reflected::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Reflected::U64((number as u64) >> 1),
        Kind::String => Reflected::String(text.to_owned()),
        Kind::Enum(_) => Reflected::EnumNumber((number as i32).rem_euclid(3)),
        Kind::Message(message) if message.name() == "Customer" => {
            let mut customer = DynamicMessage::new(message.clone());
            customer.set_field_by_name("email", Reflected::String(text.to_owned()));
            Reflected::Message(customer)
        }
        Kind::Bytes => Reflected::Bytes(text.as_bytes().to_vec().into()),
        Kind::Double => Reflected::F64(0.1),
        Kind::Float | Kind::Message(_) => return None,
    })
}

/// What the library decoded, as policies would read it: by the type alone.
fn expected(message: &DynamicMessage, ty: &crate::catalog::RecordType) -> Record {
    let mut record = Record::new();
    for (name, declared) in &ty.fields {
        let field = message.descriptor().get_field_by_name(name).unwrap();
        if declared.required || message.has_field(&field) {
            record.insert(
                Arc::clone(name),
                converted(&message.get_field(&field), &declared.ty, &field.kind()),
            );
        }
    }
    record
}

fn converted(value: &Reflected, ty: &Type, kind: &Kind) -> Value {
    match (value, ty) {
        (Reflected::Bool(value), _) => Value::Bool(*value),
        (Reflected::I32(value), _) => Value::Long((*value).into()),
        (Reflected::I64(value), _) => Value::Long(*value),
        (Reflected::U32(value), _) => Value::Long((*value).into()),
        (Reflected::U64(value), _) => Value::Long(i64::try_from(*value).unwrap()),
        (Reflected::String(value), _) => Value::String(value.clone()),
        (Reflected::EnumNumber(value), _) => {
            let name = ["NONE", "EUR", "USD"][usize::try_from(*value).unwrap()];
            Value::String(name.to_owned())
        }
        (Reflected::List(items), Type::Set(item)) => {
            Value::Set(items.iter().map(|value| converted(value, item, kind)).collect())
        }
        (Reflected::Message(message), Type::Record(ty)) => Value::Record(expected(message, ty)),
        other => panic!("{other:?} of {kind:?}"),
    }
}

proptest! {
    #[test]
    fn a_message_is_what_the_library_decodes(message in any_refund()) {
        let bytes = message.encode_to_vec();
        let decoded = DynamicMessage::decode(refund(), bytes.as_slice()).unwrap();
        let catalog = shop();
        let ty = operation(catalog, "Create").body_type().unwrap();
        prop_assert_eq!(read(catalog, &bytes), Ok(expected(&decoded, ty)));
    }

    #[test]
    fn what_is_read_is_what_the_library_reads(
        bytes in prop::collection::vec(prop_oneof![3 => 0_u8..=0x20, 1 => any::<u8>()], 0..24)
    ) {
        let catalog = shop();
        if let Ok(found) = read(catalog, &bytes) {
            let decoded = DynamicMessage::decode(refund(), bytes.as_slice());
            let ty = operation(catalog, "Create").body_type().unwrap();
            // What does not map may still be broken to the library.
            if let Ok(decoded) = decoded {
                prop_assert_eq!(found, expected(&decoded, ty));
            }
        }
    }
}
