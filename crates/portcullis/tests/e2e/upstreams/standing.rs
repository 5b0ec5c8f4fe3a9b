//! Who may use a service sees how its instances are.

use serde_json::{Value, json};

use super::{
    OK,
    moody::{Mood, Moody},
    read,
};
use crate::{people::Person, shop::Shop};

const PEOPLE: &str = r#"
@id("oncall")
permit (principal is User in Group::"oncall", action in Action::"shop.read", resource == Service::"shop");

@id("asking") @reviews("0") @max_duration("10m")
permit (principal is User in Group::"engineering", action in Action::"shop.read", resource == Service::"shop")
when { context has grant };
"#;

#[test]
fn who_may_use_a_service_sees_which_instances_are_up() {
    let (good, bad) = (Moody::start(OK), Moody::start(Mood::Says(503)));
    let upstream = format!(
        "{{instances: {{s-0: {{url: \"{}\", zone: eu-1}}, s-1: \"{}\"}}, \
         ejection: {{failures: 3, time: 1h, max_time: 1h}}}}",
        good.url(),
        bad.url()
    );
    let shop = Shop::unready_with(&upstream, |plan| plan.policy("people.cedar", PEOPLE));
    shop.house.wait_ready();
    let ana = shop.house.sign_in(&Person::new("ana", &["oncall"]));
    let health = |token: &str| -> Value {
        let service = shop.house.api("GET", "/v1/services/shop", Some(token), None).json();
        let all = shop.house.api("GET", "/v1/services", Some(token), None).json();
        assert_eq!(all["services"][0], service);
        service["health"].clone()
    };
    let up = |name: &str| json!({"name": name, "health": "up"});
    let near = json!({"name": "s-0", "zone": "eu-1", "health": "up"});
    assert_eq!(health(&ana), json!([near, up("s-1")]));
    while bad.requests() < 3 {
        read(&shop);
    }
    assert_eq!(health(&ana), json!([near, {"name": "s-1", "health": "ejected"}]));
    shop.house.profile("ana", &ana);
    let (_, all) = shop.house.says("ana", &["services"]);
    assert!(all.contains("1 of 2"), "{all}");
    let (_, one) = shop.house.says("ana", &["services", "shop"]);
    for told in ["instances  1 of 2 up", "s-0  in eu-1  up", "s-1  left out for a while"] {
        assert!(one.contains(told), "{told}: {one}");
    }
    // Who may ask for it only learns what there is.
    let ben = shop.house.sign_in(&Person::new("ben", &["engineering"]));
    assert_eq!(health(&ben), Value::Null);
    shop.house.profile("ben", &ben);
    let (_, one) = shop.house.says("ben", &["services", "shop"]);
    assert!(one.contains("instances  s-0, s-1") && !one.contains("left out"), "{one}");
}
