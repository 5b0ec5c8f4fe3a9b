//! Group D: issuers whose keys change, and issuers that do not answer.

use std::time::{Duration, Instant};

use portcullis_testkit::{Fault, Issuer, SigningKey};

use crate::{tokens::Door, wire::Wire};

#[test]
fn d08_i14_unknown_keys_cause_one_fetch_per_interval() {
    let door = Door::open();
    door.admits(&door.sound().mint(), "a sound token");
    let before = (door.issuer().key_fetches(), door.issuer().discoveries());
    let begun = Instant::now();
    let stranger = SigningKey::generate("stranger", "ES256");
    let mut wire = Wire::connect(door.shop.house.gate);
    for at in 0..1000 {
        let token = door.sound().header("kid", format!("unknown-{at}")).signed_by(&stranger);
        wire.send(format!(
            "GET /page HTTP/1.1\r\nHost: shop.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let response = wire.response().expect("an answer");
        assert_eq!(response.status, 401, "{}", response.text());
    }
    let allowed = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 10;
    let fetched = door.issuer().key_fetches() - before.0;
    assert!(fetched <= allowed, "{fetched} fetches in {:?}", begun.elapsed());
    assert!(door.issuer().discoveries() - before.1 <= allowed);
    assert!(door.upstream.take().is_empty());
    door.admits(&door.sound().mint(), "others are not affected");
}

#[test]
fn d09_a_key_that_its_issuer_removed_opens_nothing_within_the_refresh() {
    let door = Door::attentive();
    let old = door.sound().mint();
    door.admits(&old, "the first key");
    let key = SigningKey::generate("key-2", "ES256");
    let published = key.jwk();
    door.issuer().rotate(key);
    door.becomes(&door.sound().mint(), 200);
    door.admits(&old, "both are published");
    door.issuer().publish(vec![published]);
    // It is read again every second; the rest is for busy machines.
    let took = door.becomes(&old, 401);
    assert!(took < Duration::from_secs(15), "{took:?}");
    door.refuses(&old, "a removed key");
    door.admits(&door.sound().mint(), "the key that is left");
}

#[test]
fn d10_bad_key_sets_change_nothing_and_redirects_are_not_followed() {
    let door = Door::attentive();
    let sound = door.sound().mint();
    door.admits(&sound, "before");
    let theirs = Issuer::start();
    let next = SigningKey::generate("key-2", "ES256");
    let faults = [
        Fault::InternalError,
        Fault::Html,
        Fault::TenMegabytes,
        Fault::Redirect(format!("{}/jwks", theirs.url())),
        Fault::Down,
    ];
    for fault in faults {
        door.issuer().set_fault(Some(fault.clone()));
        std::thread::sleep(Duration::from_millis(1200));
        door.admits(&sound, "the last good keys");
        let unknown = door.sound().header("kid", "key-2").signed_by(&next);
        assert!([401, 503].contains(&door.status(&unknown)), "{fault:?}");
        let forged = door.sound().header("kid", "key-9").signed_by(&theirs.key());
        assert!([401, 503].contains(&door.status(&forged)), "{fault:?}");
        assert!(door.upstream.take().is_empty(), "{fault:?}");
    }
    assert_eq!((theirs.key_fetches(), theirs.discoveries()), (0, 0));
    door.issuer().set_fault(None);
    door.issuer().rotate(next);
    door.becomes(&door.sound().mint(), 200);
}

#[test]
fn d10_an_issuer_that_is_away_at_the_start_keeps_nobody_from_starting() {
    let mut door = Door::open();
    door.shop.house.kill();
    door.issuer().set_fault(Some(Fault::Down));
    door.shop.house.restart();
    let token = door.sound().mint();
    let response = door.shop.read_as(&token);
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(door.upstream.take().is_empty());
    assert_eq!(door.shop.house.api("GET", "/readyz", None, None).status, 200);
    door.issuer().set_fault(None);
    door.becomes(&token, 200);
}
