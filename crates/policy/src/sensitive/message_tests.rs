//! Messages of every kind, with what is sensitive in them.

use prost_reflect::{DescriptorPool, DeserializeOptions};

use super::*;
use crate::sensitive::{ClassSet, path::Path};

const PROTO: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
message Order {
  Card card = 1;
  repeated Card cards = 2;
  map<string, string> labels = 3;
  google.protobuf.Any detail = 4;
  google.protobuf.Struct more = 5;
  google.protobuf.StringValue pin_code = 6;
  string note = 7;
  bytes raw = 8;
  Order next_order = 9;
  repeated double sums = 10;
  repeated Card more_cards = 11;
  int64 total = 12;
  repeated bool marks = 13;
}
message Card { string card_number = 1; int64 limit = 2; bool is_open = 3; Kind kind = 4; }
enum Kind { NONE = 0; GOLD = 1; }
message Other { string card_number = 1; string later = 9; }
"#;

/// Paths, whether digits are known by their looks, and how many values were looked at.
struct All(Automaton, bool, u64);

impl Masking for All {
    fn automaton(&self) -> &Automaton {
        &self.0
    }

    fn is_masked(&mut self, at: &[At]) -> bool {
        self.2 += 1;
        at.iter().any(|at| self.0.classes(*at) != ClassSet(0))
    }

    /// Also by its looks.
    fn is_masked_number(&mut self, number: &dyn Display, at: &[At]) -> bool {
        self.is_masked(at) || self.1 && number.to_string().contains("4111")
    }

    fn text(&mut self, text: &str, at: &[At]) -> Option<String> {
        let is_masked = self.is_masked(at) || self.1 && text.contains("4111");
        is_masked.then(|| "***".to_owned())
    }
}

fn pool() -> DescriptorPool {
    let folder = std::env::temp_dir().join(format!("portcullis-shapes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("shop.proto");
    std::fs::write(&file, PROTO).unwrap();
    let set = protox::compile([&file], [&folder]).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

fn all(paths: &[&str], recognises: bool) -> All {
    let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
    All(Automaton::new(paths.iter().enumerate()).unwrap(), recognises, 0)
}

fn masked_by(paths: &[&str], bytes: &[u8], of: &DescriptorPool) -> Result<String, Unreadable> {
    masked(&mut all(paths, false), bytes, of)
}

fn masked(all: &mut All, bytes: &[u8], of: &DescriptorPool) -> Result<String, Unreadable> {
    let order = of.get_message_by_name("shop.Order").unwrap();
    let bytes = Shape::new(&order).masked(bytes, all)?;
    let read = DynamicMessage::decode(order, bytes.as_slice()).unwrap();
    Ok(serde_json::to_string(&read).unwrap())
}

fn order(of: &DescriptorPool, json: &str) -> Vec<u8> {
    let order = of.get_message_by_name("shop.Order").unwrap();
    let mut json = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new();
    DynamicMessage::deserialize_with_options(order, &mut json, &options).unwrap().encode_to_vec()
}

#[test]
fn g10_fields_are_masked_by_either_name_wherever_they_stand() {
    let pool = pool();
    let json = r#"{"card":{"cardNumber":"4111","limit":"7","isOpen":true,"kind":"GOLD"},"cards":[{"cardNumber":"4111"}],"labels":{"pin":"4111","x":"y"},"detail":{"@type":"type.googleapis.com/shop.Other","cardNumber":"4111"},"more":{"pin":4111.0,"deep":[{"pin":"4111"}]},"pinCode":"4111","note":"n"}"#;
    let bytes = order(&pool, json);
    for names in
        [&["$..cardNumber", "$..pin", "$.pinCode"][..], &["$..card_number", "$..pin", "$.pin_code"]]
    {
        let masked = masked_by(names, &bytes, &pool).unwrap();
        assert!(!masked.contains("4111") && masked.contains("\"note\":\"n\""), "{masked}");
        assert!(masked.contains("\"limit\":\"7\"") && masked.contains("GOLD"), "{masked}");
    }
    let whole = masked_by(&["$.card", "$.more"], &bytes, &pool).unwrap();
    assert!(whole.contains(r#""card":{"cardNumber":"***"}"#), "{whole}");
}

#[test]
fn g10_what_a_descriptor_does_not_know_is_dropped_or_refused() {
    let pool = pool();
    // Field 99, a string; and an `Any` of a type that nobody declared.
    let unknown = [&order(&pool, r#"{"note":"n"}"#)[..], &[0x9a, 0x06, 4], b"4111"].concat();
    assert_eq!(masked_by(&["$..pin"], &unknown, &pool).as_deref(), Ok(r#"{"note":"n"}"#));
    let url = b"type.googleapis.com/shop.Stranger";
    let any = [&[0x0a, u8::try_from(url.len()).unwrap()][..], url, &[0x12, 4], b"4111"].concat();
    let strange = [&[0x22, u8::try_from(any.len()).unwrap()][..], &any].concat();
    assert_eq!(masked_by(&["$..pin"], &strange, &pool), Err(Unreadable));
    assert_eq!(masked_by(&["$..pin"], b"\x0a\xff", &pool), Err(Unreadable));
}

fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![number << 3 | 2], inner.len());
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    [&out, inner].concat()
}

#[test]
fn g10_a_value_that_two_names_lead_to_is_looked_at_once() {
    let pool = pool();
    let deep = (0..80).fold(order(&pool, r#"{"note":"4111"}"#), |inner, _| field(9, &inner));
    // Each of the names leads elsewhere.
    for (path, is_hidden) in [
        ("$..nextOrder..pin", false),
        ("$..nextOrder.nextOrder..note", true),
        ("$..next_order..note", true),
    ] {
        let mut all = all(&[path], false);
        let masked = masked(&mut all, &deep, &pool).unwrap();
        assert_eq!(masked.contains("4111"), !is_hidden, "{path}");
        assert_eq!(all.2, 1, "{path}");
    }
}

#[test]
fn g10_what_is_nested_too_deeply_is_refused_before_it_is_read() {
    let pool = pool();
    let nested = |inner: Vec<u8>, levels| (0..levels).fold(inner, |inner, _| field(9, &inner));
    let mut deep = order(&pool, r#"{"note":"n"}"#);
    for levels in [40, 40] {
        let url = field(1, b"type.googleapis.com/shop.Order");
        let any = [url, field(2, &nested(deep, levels))].concat();
        deep = field(4, &any);
    }
    assert!(masked_by(&["$..pin"], &deep, &pool).is_ok());
    for _ in 0..16 {
        let url = field(1, b"type.googleapis.com/shop.Order");
        deep = field(4, &[url, field(2, &nested(deep, 90))].concat());
    }
    assert_eq!(masked_by(&["$..pin"], &deep, &pool), Err(Unreadable));
}

#[test]
fn g10_a_message_of_too_many_values_is_refused_before_it_is_read() {
    let pool = pool();
    let most = 512 * 1024;
    assert!(masked_by(&["$..pin"], &field(10, &vec![0; 8 * 1000]), &pool).is_ok());
    let cards = field(11, &[]).repeat(most + 1);
    for heavy in [field(13, &vec![1; most]), cards, field(10, &vec![0; 8 * most])] {
        assert_eq!(masked_by(&["$..pin"], &heavy, &pool), Err(Unreadable));
    }
}

#[test]
fn g10_numbers_and_bytes_are_looked_at_for_what_nobody_declared() {
    let pool = pool();
    let numbers =
        r#"{"total":"4111","sums":[1.0,4111.0],"more":{"x":4111},"card":{"limit":"4111"}}"#;
    let masked_one = |bytes: &[u8]| masked(&mut all(&["$..pin"], true), bytes, &pool).unwrap();
    let text = masked_one(&order(&pool, numbers));
    assert!(!text.contains("4111") && text.contains("1.0"), "{text}");
    let raw = [b"\xff\xfe4111\x80".to_vec(), b"4111".to_vec()];
    for raw in raw {
        assert_eq!(masked_one(&field(8, &raw)), r#"{"raw":"Kioq"}"#);
    }
    assert_eq!(masked_one(&field(8, b"\xff411")), r#"{"raw":"/zQxMQ=="}"#);
}

#[test]
fn g10_what_is_well_known_is_found_by_its_own_members_too() {
    let pool = pool();
    let json = r#"{"detail":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"4111"},"pinCode":"4112","more":{"x":"4113"}}"#;
    let bytes = order(&pool, json);
    for (path, hidden) in [
        ("$.detail.value", "4111"),
        ("$.detail", "4111"),
        ("$.pinCode.value", "4112"),
        ("$.pin_code.value", "4112"),
        ("$.more.fields.x.stringValue", "4113"),
        ("$.more.x", "4113"),
    ] {
        let masked = masked_by(&[path], &bytes, &pool).unwrap();
        for value in ["4111", "4112", "4113"] {
            assert_eq!(masked.contains(value), value != hidden, "{path}: {masked}");
        }
    }
}
