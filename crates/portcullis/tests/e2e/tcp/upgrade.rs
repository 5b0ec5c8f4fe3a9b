//! What an Upgrade opens, and what it does not.

use std::{io::Write, time::Duration};

use super::database::{CONNECT, Database, Said, ana, ben, data, frame};

#[test]
fn a_permitted_connection_carries_bytes_both_ways_to_both_ends() {
    let database = Database::furnished(b"hello ", "", |plan| plan);
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.answer.header("upgrade"), Some("portcullis-tcp"));
    // The database speaks first, as some do.
    assert_eq!(tunnel.read(6), b"hello ");
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    // Our half is over; what comes back still comes.
    let sent = [data(&much), frame(1, b"")].concat();
    let mut sending = tunnel.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || sending.write_all(&sent).unwrap());
    assert!(tunnel.read(much.len()) == much, "the bytes differ");
    sender.join().unwrap();
    assert_eq!(tunnel.read(13), b"3000000 bytes");
    assert_eq!(tunnel.next().unwrap(), Said::End);
    let event = database.event("connection_ended", |event| event["operation"] == CONNECT);
    assert_eq!(event["decision"], "finished", "{event:#}");
    assert_eq!(event["detail"], "3000000 bytes up, 3000019 bytes down");
}

#[test]
fn a_refusal_is_an_ordinary_answer_that_can_be_asked_about() {
    let database = Database::open();
    let (control, gate) = database.enter(&ben());
    let refused = database.dial(&gate).unwrap_err();
    assert_eq!(refused.status, 403);
    let problem = refused.json();
    assert!(problem["type"].as_str().unwrap().ends_with("/problems/requestable"), "{problem:#}");
    assert_eq!(problem["operation"], CONNECT);
    assert!(refused.closed, "early data could be read as a request");
    assert!(database.upstream.seen().is_empty());
    let grant = database.ask(&control, &refused);
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.answer.header("portcullis-grant"), Some(grant.as_str()));
    tunnel.send(b"ping");
    assert_eq!(tunnel.read(4), b"ping");
    let path = format!("/v1/grants/{grant}/give-back");
    assert!(database.house.api("POST", &path, Some(&control), None).status < 300);
    assert_eq!(tunnel.until_closed(Duration::from_secs(20)), "the grant ended");
}
