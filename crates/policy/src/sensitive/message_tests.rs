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
}
message Card { string card_number = 1; int64 limit = 2; bool is_open = 3; Kind kind = 4; }
enum Kind { NONE = 0; GOLD = 1; }
message Other { string card_number = 1; string later = 9; }
"#;

struct All(Automaton);

impl Masking for All {
    fn automaton(&self) -> &Automaton {
        &self.0
    }

    fn is_masked(&mut self, at: At) -> bool {
        self.0.classes(at) != ClassSet(0)
    }

    fn text(&mut self, _: &str, at: At) -> Option<String> {
        self.is_masked(at).then(|| "***".to_owned())
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

fn masked_by(paths: &[&str], bytes: &[u8], of: &DescriptorPool) -> Result<String, Unreadable> {
    let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
    let mut all = All(Automaton::new(paths.iter().enumerate()).unwrap());
    let order = of.get_message_by_name("shop.Order").unwrap();
    let bytes = Shape::new(&order).masked(bytes, &mut all)?;
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
