//! Buttons: reviews where policy accepts chat, by whoever the account is, as they are now.

use serde_json::{Value, json};

use super::{BY_CHAT, Mode, Office, actions, text};
use crate::{
    payments::{ben, grant, lea, leo},
    people::Person,
};

#[test]
fn a_request_is_approved_by_a_button_and_its_message_becomes_the_record() {
    let mut office = Office::open(Mode::Http);
    let (_, ben_token) = (office.token(&lea()), office.token(&ben()));
    let asked = office.ask(&ben_token, "look at events");
    let message = office.in_channel(&asked);
    let said = text(&message);
    for part in ["ben", "corp:ben", "payments.events for 15m", "look at events", "0 of 1 reviews"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(actions(&message), ["approve", "approve_for", "decline"]);
    let direct = office.slack.until("posted", |got| got["place"] == "ULEA00000")["message"].clone();
    assert_eq!(actions(&direct), ["approve", "approve_for", "decline"]);
    let done = office.press("lea", &message, "approve", json!({}));
    assert_eq!(done["status"], 200);
    let granted = office.becomes(&message, "Access is granted: payments");
    assert_eq!(actions(&granted), [""; 0]);
    assert!(text(&granted).contains("approved by lea"), "{}", text(&granted));
    office.becomes(&direct, "Access is granted: payments");
    let now = office.get(&ben_token, &asked);
    assert_eq!(now["state"], "approved", "{now:#}");
    let reviewed =
        office.payments.event("reviewed", |event| event["access_request"] == asked["id"]);
    assert_eq!(reviewed["detail"], "by chat", "{reviewed:#}");
    assert_eq!(reviewed["principal"]["id"], "corp:lea", "{reviewed:#}");
    // Its end, too.
    let path = format!("/v1/grants/{}/give-back", grant(&now));
    let back = office.payments.house.api("POST", &path, Some(&ben_token), None);
    assert!(back.status < 300, "{}", back.text());
    let ended = office.becomes(&message, "Access has ended: payments");
    assert!(text(&ended).contains("was given back at"), "{}", text(&ended));
    // What was said in places is on record as told.
    office.payments.event("notice_delivered", |event| event["detail"] == "slack:#payments");
}

#[test]
fn over_a_socket_a_shorter_time_is_chosen_and_a_decline_says_why() {
    let mut office = Office::open(Mode::Socket);
    office.token(&lea());
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "for an hour");
    let message = office.in_channel(&asked);
    let done = office.press("lea", &message, "approve_for", json!({"option": "5m"}));
    assert_eq!((&done["acknowledged"], &done["attempt"]), (&json!(true), &json!(0)), "{done}");
    office.becomes(&message, "Access is granted: payments");
    let now = office.get(&ben_token, &asked);
    assert_eq!(now["reviews"][0]["duration"], "5m", "{now:#}");
    // Slack takes the connection away and says so before; another is there by then.
    office.slack.order(json!({"do": "disconnect"}));
    office.slack.until("connected", |_| true);
    office.slack.until("disconnected", |_| true);
    let leo_token = office.token(&Person::new("mia", &["engineering"]));
    let asked = office.ask(&leo_token, "again");
    let message = office.in_channel(&asked);
    office.press("lea", &message, "decline", json!({}));
    let told = office.slack.until("answered", |got| got["to"] == "lea");
    assert!(text(&told["message"]).contains("a decline must say why"), "{told:#}");
    office.press("lea", &message, "decline", json!({"note": "not today"}));
    let declined = office.becomes(&message, "Declined: payments");
    assert!(text(&declined).contains("lea: not today"), "{}", text(&declined));
    assert_eq!(office.get(&leo_token, &asked)["state"], "declined");
}

#[test]
fn e01_nobody_approves_their_own_by_a_button_whatever_their_other_names_are() {
    let mut office = Office::open(Mode::Http);
    office.token(&leo());
    let lea_token = office.token(&lea());
    let asked = office.ask(&lea_token, "my own");
    let message = office.in_channel(&asked);
    office.press("lea", &message, "approve", json!({}));
    let told = office.slack.until("answered", |got| got["to"] == "lea");
    assert!(text(&told["message"]).contains("nobody reviews their own"), "{told:#}");
    // e02: another account of hers in Slack, by another spelling of her verified address.
    let change = json!({"profile": {"email": "LEA@example.com"}});
    office.slack.order(json!({"do": "member", "name": "mia", "change": change}));
    office.press("mia", &message, "approve", json!({}));
    office.slack.until("answered", |got| got["to"] == "mia");
    assert_eq!(office.get(&lea_token, &asked)["state"], "pending");
    let refused = |event: &Value| event["access_request"] == asked["id"];
    let refused = office.payments.event("review_refused", refused);
    assert_eq!(refused["principal"]["id"], "corp:lea", "{refused:#}");
}

#[test]
fn e09_who_lost_the_right_after_the_button_was_drawn_approves_nothing() {
    let mut office = Office::open(Mode::Http);
    office.token(&lea());
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "while she may");
    let message = office.in_channel(&asked);
    office.slack.until("posted", |got| got["place"] == "ULEA00000");
    // The button stays as it was drawn while Slack takes no changes.
    office.slack.order(json!({"do": "limit", "method": "chat.update", "seconds": 8}));
    // Her provider says since that she is no lead.
    office.token(&Person::new("lea", &["engineering"]));
    office.press("lea", &message, "approve", json!({}));
    office.slack.until("answered", |got| got["to"] == "lea");
    assert_eq!(office.get(&ben_token, &asked)["state"], "pending");
    let refused = |event: &Value| event["access_request"] == asked["id"];
    office.payments.event("review_refused", refused);
    // She is one again, and the same button does it.
    office.token(&lea());
    office.press("lea", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn without_a_policy_that_accepts_chat_there_is_a_link_and_no_button() {
    let mut office = Office::furnished(Mode::Http, "", "email: verified", |plan| plan);
    let lea_token = office.token(&lea());
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "by the page");
    let message = office.in_channel(&asked);
    assert_eq!(actions(&message), [""; 0]);
    assert!(message.to_string().contains("/requests/"), "{message:#}");
    let path = format!("/v1/access-requests/{}/reviews", asked["id"].as_str().unwrap());
    let body = Some(json!({"decision": "approve"}));
    let reviewed = office.payments.house.api("POST", &path, Some(&lea_token), body);
    assert!(reviewed.status < 300, "{}", reviewed.text());
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn what_reviews_need_on_every_other_way_they_need_by_chat_too() {
    // A review wants a second factor: nobody has one in a chat, though she signed in with one.
    let strict = format!(
        "{BY_CHAT}\n@id(\"factor\")\nforbid (principal, action == Action::\"review\", resource)\n\
         unless {{ principal.amr.contains(\"mfa\") }};\n"
    );
    let mut office = Office::furnished(Mode::Http, &strict, "email: verified", |plan| plan);
    let mut with_factor = lea();
    with_factor.more = json!({"amr": ["mfa"]});
    office.token(&with_factor);
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "with a factor");
    let message = office.in_channel(&asked);
    assert_eq!(actions(&message), [""; 0]);
}

#[test]
fn an_account_is_whose_claim_names_it_and_not_whose_name_it_bears() {
    let mut office = Office::furnished(Mode::Http, BY_CHAT, "claim: slack", |plan| {
        plan.oidc("claims: {slack: String}")
    });
    let mut lea = lea();
    lea.more = json!({"slack": "UMIA00000"});
    office.token(&lea);
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "by claim");
    let message = office.in_channel(&asked);
    office.slack.until("posted", |got| got["place"] == "UMIA00000");
    // Called like her, with her address, and not hers.
    office.press("lea", &message, "approve", json!({"called": "lea"}));
    office.is_refused("ULEA00000 pressed a button: it is nobody's");
    assert_eq!(office.get(&ben_token, &asked)["state"], "pending");
    office.press("mia", &message, "approve", json!({}));
    office.becomes(&message, "Access is granted: payments");
}

#[test]
fn an_address_links_only_if_both_sides_have_verified_it_and_its_person_is_signed_in() {
    let mut office = Office::open(Mode::Http);
    let lea_token = office.token(&lea());
    let ben_token = office.token(&ben());
    let asked = office.ask(&ben_token, "by address");
    let message = office.in_channel(&asked);
    for change in [
        json!({"is_email_confirmed": false}),
        json!({"is_email_confirmed": true, "deleted": true}),
        json!({"deleted": false, "team_id": "T0STRANGER"}),
    ] {
        office.slack.order(json!({"do": "member", "name": "lea", "change": change}));
        office.press("lea", &message, "approve", json!({}));
        let told = office.slack.until("answered", |got| got["to"] == "lea");
        assert!(text(&told["message"]).contains("not confirmed"), "{change}: {told:#}");
    }
    let change = json!({"team_id": "T024BE7LD"});
    office.slack.order(json!({"do": "member", "name": "lea", "change": change}));
    // What is known of whoever is signed in nowhere may be old.
    office.payments.house.api("POST", "/v1/sign-out", Some(&lea_token), None);
    let mine = office.payments.house.api("GET", "/v1/whoami", Some(&lea_token), None);
    assert_eq!(mine.status, 401);
    office.press("lea", &message, "approve", json!({}));
    let told = office.slack.until("answered", |got| got["to"] == "lea");
    assert!(text(&told["message"]).contains("not signed in here"), "{told:#}");
    assert_eq!(office.get(&ben_token, &asked)["state"], "pending");
}
