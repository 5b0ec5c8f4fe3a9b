use portcullis_model::{PasskeyId, PrincipalId, PrincipalKind};
use portcullis_testkit::{SoftPasskey, passkey::VERIFIED};
use serde_json::{Value, json};

use super::*;
use crate::passkey::cose::PublicKey;

const ORIGIN: &str = "https://portcullis.example.com";
const HOST: &str = "portcullis.example.com";
const CHALLENGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn party() -> RelyingParty {
    RelyingParty::of(&ORIGIN.parse().unwrap()).unwrap()
}

fn challenge() -> Vec<u8> {
    CHALLENGE.parse::<portcullis_model::Base64Url>().unwrap().0
}

fn soft() -> SoftPasskey {
    SoftPasskey::new(ORIGIN, HOST, 1)
}

fn registered(response: Value) -> Result<Registered, Rejected> {
    register(&party(), &challenge(), &serde_json::from_value(response).unwrap())
}

fn passkey(soft: &SoftPasskey) -> portcullis_model::Passkey {
    let made = registered(soft.register(CHALLENGE)).unwrap();
    portcullis_model::Passkey {
        id: PasskeyId::from_bits(1),
        principal: PrincipalId::new(PrincipalKind::User, "corp", "lea"),
        name: "laptop".into(),
        credential: made.credential,
        public_key: made.public_key,
        counter: made.counter,
        backup_eligible: made.backup_eligible,
        transports: vec![],
        created_at: jiff::Timestamp::UNIX_EPOCH,
        last_used_at: None,
    }
}

fn verified(passkey: &portcullis_model::Passkey, response: Value) -> Result<Assertion, Rejected> {
    verify(&party(), &challenge(), passkey, &serde_json::from_value(response).unwrap())
}

#[test]
fn relying_parties_are_where_browsers_have_passkeys() {
    let of = |url: &str| RelyingParty::of(&url.parse().unwrap());
    let named = of("https://Portcullis.example.com:8443/x").unwrap();
    assert_eq!(named.id(), HOST);
    assert_eq!(named.origin(), "https://portcullis.example.com:8443");
    assert_eq!(of("http://localhost:8600").unwrap().origin(), "http://localhost:8600");
    for url in ["http://127.0.0.1:8600", "https://[::1]", "http://portcullis.example.com"] {
        assert_eq!(of(url), None, "{url}");
    }
}

#[test]
fn an_honest_passkey_registers_and_signs() {
    let mut soft = soft();
    let passkey = passkey(&soft);
    assert_eq!(passkey.credential.0, soft.credential);
    assert_eq!(verified(&passkey, soft.sign(CHALLENGE)), Ok(Assertion { counter: 1 }));
}

#[test]
fn each_lie_of_browser_or_authenticator_is_refused_in_both_ceremonies() {
    type Lie = (&'static str, fn(&mut SoftPasskey));
    let lies: [Lie; 9] = [
        ("another origin", |soft| soft.origin = "https://evil.example.com".into()),
        ("another port", |soft| soft.origin = format!("{ORIGIN}:8443")),
        ("clear text", |soft| soft.origin = format!("http://{HOST}")),
        ("another relying party", |soft| soft.relying_party = "example.com".into()),
        ("nobody present", |soft| soft.flags = VERIFIED & !1),
        ("nobody verified", |soft| soft.flags = VERIFIED & !4),
        ("backed up, which it cannot be", |soft| soft.flags = VERIFIED | 0x10),
        ("extensions that are not there", |soft| soft.flags = VERIFIED | 0x80),
        ("no id", |soft| soft.credential = vec![]),
    ];
    for (lie, tell) in lies {
        let mut soft = soft();
        let passkey = passkey(&soft);
        tell(&mut soft);
        assert!(registered(soft.register(CHALLENGE)).is_err(), "{lie}");
        assert!(verified(&passkey, soft.sign(CHALLENGE)).is_err(), "{lie}");
    }
}

#[test]
fn client_data_is_of_this_ceremony_this_challenge_and_no_frame() {
    let mut soft = soft();
    let passkey = passkey(&soft);
    let data = |change: &dyn Fn(&mut Value)| {
        let mut said: Value =
            serde_json::from_str(&soft.client_data("webauthn.get", CHALLENGE)).unwrap();
        change(&mut said);
        said.to_string()
    };
    let honest = data(&|_| {});
    let bad = [
        data(&|said| said["type"] = json!("webauthn.create")),
        data(&|said| said["challenge"] = json!(CHALLENGE.replace("AAEC", "AAED"))),
        data(&|said| said["challenge"] = json!(format!("{CHALLENGE}="))),
        data(&|said| said["challenge"] = json!("")),
        data(&|said| said["crossOrigin"] = json!(true)),
        data(&|said| said["topOrigin"] = json!("https://evil.example.com")),
        honest.replacen('{', "{\"origin\":\"https://evil.example.com\",", 1),
        format!("{honest}{{}}"),
        String::new(),
        " ".repeat(5000),
    ];
    for text in bad {
        assert!(verified(&passkey, soft.sign_client_data(&text)).is_err(), "{text}");
    }
    // Browsers may add what they like.
    let more = honest.replacen('{', "{\"other_keys_can_be_added_here\":\"x\",", 1);
    assert!(verified(&passkey, soft.sign_client_data(&more)).is_ok());
}

#[test]
fn a_signature_is_over_every_byte_and_by_this_passkey() {
    let (mut soft, mut other) = (soft(), SoftPasskey::new(ORIGIN, HOST, 1));
    let passkey = passkey(&soft);
    assert!(verified(&passkey, other.sign(CHALLENGE)).is_err(), "another key under the same name");
    let mut other = SoftPasskey::new(ORIGIN, HOST, 2);
    assert!(verified(&passkey, other.sign(CHALLENGE)).is_err(), "another name");
    let honest = soft.sign(CHALLENGE);
    for member in ["authenticatorData", "signature"] {
        let bytes: portcullis_model::Base64Url =
            serde_json::from_value(honest["response"][member].clone()).unwrap();
        for at in 0..bytes.0.len() {
            let mut changed = bytes.clone();
            changed.0[at] ^= 0x20;
            let mut response = honest.clone();
            response["response"][member] = json!(changed);
            assert!(verified(&passkey, response).is_err(), "byte {at} of {member}");
        }
    }
    let mut kind = honest.clone();
    kind["type"] = json!("password");
    assert!(verified(&passkey, kind).is_err());
    assert!(verified(&passkey, honest).is_ok());
}

#[test]
fn a_counter_that_counts_goes_on_counting() {
    let mut soft = soft();
    let mut passkey = passkey(&soft);
    let mut signs = |counter_before: u32, known: u32| {
        soft.counter = counter_before;
        passkey.counter = known;
        verified(&passkey, soft.sign(CHALLENGE)).map(|assertion| assertion.counter)
    };
    assert_eq!(signs(7, 7), Ok(8));
    assert!(signs(6, 7).is_err(), "the same again");
    assert!(signs(2, 7).is_err(), "back");
}

#[test]
fn a_counter_that_stays_zero_is_of_one_that_does_not_count() {
    let mut soft = soft();
    let mut passkey = passkey(&soft);
    soft.counter = u32::MAX;
    let zero = soft.sign(CHALLENGE);
    assert_eq!(verified(&passkey, zero.clone()), Ok(Assertion { counter: 0 }));
    passkey.counter = 1;
    assert!(verified(&passkey, zero).is_err(), "it had counted before");
}

#[test]
fn a_passkey_stays_of_the_kind_that_was_registered() {
    let mut soft = soft();
    let passkey = passkey(&soft);
    soft.flags = VERIFIED | 0x08;
    assert!(verified(&passkey, soft.sign(CHALLENGE)).is_err());
    let copied = registered(soft.register(CHALLENGE)).unwrap();
    assert!(copied.backup_eligible);
}

#[test]
fn keys_are_of_three_algorithms_and_nothing_else() {
    let soft = soft();
    let sound = soft.public_key();
    let with = |at: usize, byte: u8| {
        let mut key = sound.clone();
        key[at] = byte;
        key
    };
    let twice = [&[0xa6, 1, 2][..], &sound[1..]].concat();
    let bad = [
        ("ES384", with(4, 0x38)),
        ("EdDSA on P-256", with(4, 0x27)),
        ("ES512", [&sound[..4], &[0x38, 0x23], &sound[5..]].concat()),
        ("another type", with(2, 1)),
        ("another curve", with(6, 2)),
        ("a point that is not on the curve", with(12, sound[12] ^ 1)),
        ("a key cut short", sound[..60].to_vec()),
        ("a key with more behind it", [&sound[..], &[0]].concat()),
        ("a label twice", twice),
        ("nothing", vec![]),
        ("no map", vec![0x80]),
        ("a map that never ends", vec![0xbf; 200]),
        ("a length that nobody has", vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("an RSA key of nothing", vec![0xa4, 1, 3, 3, 0x39, 1, 0, 0x20, 0x41, 1, 0x21, 0x41, 3]),
    ];
    for (what, key) in bad {
        assert!(PublicKey::parse(&key).is_err(), "{what}");
        assert!(registered(soft.register_with(CHALLENGE, &key)).is_err(), "{what}");
    }
    assert!(PublicKey::parse(&sound).is_ok());
}

#[test]
fn no_input_panics() {
    let soft = soft();
    let honest = soft.register(CHALLENGE);
    let object: portcullis_model::Base64Url =
        serde_json::from_value(honest["response"]["attestationObject"].clone()).unwrap();
    for end in 0..object.0.len() {
        let mut response = honest.clone();
        response["response"]["attestationObject"] =
            json!(portcullis_model::Base64Url(object.0[..end].to_vec()));
        assert!(registered(response).is_err(), "cut at {end}");
    }
    for at in 0..object.0.len() {
        let mut changed = object.clone();
        changed.0[at] ^= 0xff;
        let mut response = honest.clone();
        response["response"]["attestationObject"] = json!(changed);
        let _ = registered(response);
    }
}
