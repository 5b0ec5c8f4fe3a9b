//! Group D once more, with nothing of ours on the other side: tokens by `PyJWT`, presented by curl.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use crate::{secrecy::handed_out, shop::HOST, tokens::Door};

/// What the Python script mints for the door's issuer.
fn minted(door: &Door) -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = root.join(".cache/python/bin/python");
    let python = std::env::var_os("PORTCULLIS_PYTHON").map_or(own, PathBuf::from);
    let output = Command::new(&python)
        .arg(root.join("tests/outsiders/jwt_minter.py"))
        .args([door.issuer().url(), "portcullis"])
        .output()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; ./scripts/test installs it", python.display())
        });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What curl gets at the shop's page with `token`: the status.
fn curl(door: &Door, token: &str) -> u16 {
    handed_out(token);
    let port = door.shop.house.gate.port();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .arg(format!("http://{HOST}:{port}/page"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn named(tokens: &Value) -> impl Iterator<Item = (&str, &str)> {
    tokens
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
}

#[test]
fn d01_d02_d03_d04_d05_d06_d07_tokens_minted_by_pyjwt_through_curl() {
    let door = Door::attentive();
    let minted = minted(&door);
    let mut keys = minted["keys"].as_array().unwrap().clone();
    keys.push(door.issuer().key().jwk());
    door.issuer().publish(keys);
    let (_, first) = named(&minted["sound"]).next().unwrap();
    door.becomes(first, 200);
    door.upstream.take();
    for (name, token) in named(&minted["sound"]) {
        assert_eq!(curl(&door, token), 200, "{name}");
        assert_eq!(door.upstream.take().len(), 1, "{name}");
    }
    for (name, token) in named(&minted["defective"]) {
        assert_eq!(curl(&door, token), 401, "{name}");
        assert!(door.upstream.take().is_empty(), "{name} reached the upstream");
    }
}
