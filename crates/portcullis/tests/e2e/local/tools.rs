//! curl, grpcio and Python's websockets, each by the address alone.

use std::{
    process::Command,
    sync::{Mutex, OnceLock, mpsc},
    time::Duration,
};

use portcullis_testkit::net::free_port;

use super::{Tools, curl};
use crate::{connect::Connect, mesh::eventually, pki::Pki, streams::script, upstream::Upstream};

#[test]
fn curl_speaks_both_versions_at_one_port_and_the_service_sees_its_own_host() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["shop"], &[]);
    let at = connect.at("shop");
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let url = format!("http://{at}/a/b%20c?x=1&y=%2F");
        let said = curl(&[option, "-w", " %{http_code} %{http_version}", &url]);
        assert_eq!(said, format!("upstream 200 {version}"));
        let seen = tools.upstream.take().remove(0);
        assert_eq!(seen.target(), "GET /a/b%20c?x=1&y=%2F");
        let host = format!("shop.example.com:{}", tools.house.gate.port());
        assert_eq!(seen.headers("x-forwarded-host"), [host.as_str()], "{}", seen.head);
        let said = curl(&[option, "-d", "what=ever", &url]);
        assert_eq!(said, "upstream");
        let seen = tools.upstream.take().remove(0);
        assert_eq!((seen.target(), &seen.body[..]), ("POST /a/b%20c?x=1&y=%2F", &b"what=ever"[..]));
        assert_eq!(seen.headers("accept"), ["*/*"], "as the tool sent it");
        assert!(seen.head.contains("portcullis-principal: corp:ana"), "{}", seen.head);
    }
    // What the gate says is answered as it is.
    let said = curl(&["-X", "PATCH", "-w", " %{http_code}", &format!("http://{at}/")]);
    assert!(said.ends_with(" 403") && said.contains("/problems/denied"), "{said}");
    connect.until_said("shop.PATCH refused");
    assert_eq!(tools.sign_ins(), 1, "one sign-in for all requests");
    assert_eq!(connect.stop(), Some(0));
    assert_eq!(tools.sign_ins(), 0, "what was made for it is gone with it");
}

#[test]
fn n01_a_tools_own_credentials_are_left_out_and_said_to_be() {
    let tools = Tools::open();
    let own = ["-H", "Authorization: Bearer canary", "-H", "Portcullis-Authorization: Bearer x"];
    let connect = Connect::start(&tools.house, "ana", &["shop"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    for option in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(curl(&[&[option][..], &own, &[&url]].concat()), "upstream");
        let seen = tools.upstream.take().remove(0);
        assert!(seen.headers("authorization").is_empty(), "{}", seen.head);
    }
    let said = connect.until_said("--pass-authorization");
    assert!(!said.contains("canary"), "{said}");
    drop(connect);
    let connect = Connect::start(&tools.house, "ana", &["shop", "--pass-authorization"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    assert_eq!(curl(&[&own[..], &[&url]].concat()), "upstream");
    let seen = tools.upstream.take().remove(0);
    assert_eq!(seen.headers("authorization"), ["Bearer canary"]);
}

#[test]
fn grpcio_and_websockets_pass_at_addresses_of_one_command() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["grpc", "ws", "shop"], &[]);
    for (name, service) in [("grpc_peer.py", "grpc"), ("websocket_peer.py", "ws")] {
        let (python, path) = script(name);
        let at = connect.at(service).to_string();
        let output = Command::new(python).arg(path).args(["local", &at]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(said.trim(), "ok", "{name}");
    }
    let said = connect.until_said("portcullis ask ");
    assert!(said.contains("you can get this"), "a refusal of a call is told, too: {said}");
    assert!(said.contains("one review"), "and what would open it: {said}");
    assert_eq!(curl(&[&format!("http://{}/", connect.at("shop"))]), "upstream");
    assert_eq!(tools.sign_ins(), 3, "each opens one service");
}

#[test]
fn a_sign_in_that_has_ended_costs_one_request_and_another_is_made() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["shop"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    assert_eq!(curl(&[&url]), "upstream");
    let own = tools.house.api("GET", "/v1/sign-ins", Some(&tools.control), None).json();
    let all = own["sign_ins"].as_array().unwrap();
    let made = all.iter().find(|one| one["service"] == "shop").unwrap()["id"].as_str().unwrap();
    let path = format!("/v1/sign-ins/{made}");
    assert_eq!(tools.house.api("DELETE", &path, Some(&tools.control), None).status, 204);
    eventually("another sign-in is used", || curl(&[&url]) == "upstream");
    assert_eq!(tools.sign_ins(), 1);
}

#[test]
fn a_sign_in_that_has_ended_costs_one_call_of_grpc() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["grpc"], &[]);
    let url = format!("http://{}/echo.Echo/Unary", connect.at("grpc"));
    // One message of no bytes.
    let message = tools.house.dir().join("message");
    std::fs::write(&message, [0; 5]).unwrap();
    let (message, kind) = (format!("@{}", message.display()), "Content-Type: application/grpc");
    let call = || {
        curl(&[
            "--http2-prior-knowledge",
            "-i",
            "-o-",
            "-HTE: trailers",
            "-H",
            kind,
            "--data-binary",
            &message,
            &url,
        ])
    };
    let said = call();
    assert!(said.contains("echo:") && said.contains("grpc-status: 0"), "{said}");
    let own = tools.house.api("GET", "/v1/sign-ins", Some(&tools.control), None).json();
    let all = own["sign_ins"].as_array().unwrap();
    let made = all.iter().find(|one| one["service"] == "grpc").unwrap()["id"].as_str().unwrap();
    let path = format!("/v1/sign-ins/{made}");
    assert_eq!(tools.house.api("DELETE", &path, Some(&tools.control), None).status, 204);
    let mut refused = false;
    eventually("another sign-in is used", || {
        let said = call();
        refused |= said.contains("portcullis-refusal: bad-credentials");
        said.contains("echo:") && refused
    });
    assert_eq!(tools.sign_ins(), 1);
}

#[test]
fn a_late_refusal_of_an_old_sign_in_leaves_the_new_one() {
    const LATE: usize = 3;
    let tools = Tools::open();
    let (arrived, arrivals) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (old, released) = (OnceLock::new(), Mutex::new(released));
    // In the gate's place: the first token that comes is over, and some are told so late.
    let gate = Upstream::replying(move |request| {
        let token = request.headers("portcullis-authorization")[0].to_owned();
        let is_old = *old.get_or_init(|| token.clone()) == token;
        if request.target() == "GET /late" {
            arrived.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        let answer = if is_old {
            "401 Unauthorized\r\nPortcullis-Refusal: bad-credentials"
        } else {
            "200 OK"
        };
        format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n")
    });
    let connect = Connect::start(&tools.house, "ana", &["shop", "--gate", &gate.url()], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    let status = |url: &str| curl(&["-w", "%{http_code}", url]);
    let late = format!("{url}late");
    let late: Vec<_> = std::iter::repeat_n(late, LATE)
        .map(|url| std::thread::spawn(move || status(&url)))
        .collect();
    for _ in 0..LATE {
        arrivals.recv_timeout(Duration::from_mins(1)).unwrap();
    }
    assert_eq!(status(&url), "401");
    assert_eq!(status(&url), "200", "with another");
    for _ in 0..LATE {
        release.send(()).unwrap();
    }
    for one in late {
        assert_eq!(one.join().unwrap(), "401");
    }
    assert_eq!(status(&url), "200");
    let received = gate.received();
    let others = received.iter().filter(|request| request.target() == "GET /");
    let tokens: Vec<_> =
        others.map(|request| request.headers("portcullis-authorization")[0]).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens[0] != tokens[1] && tokens[1] == tokens[2], "one is made anew");
    assert_eq!(tools.sign_ins(), 1, "and the old one is ended");
}

#[test]
fn f16_the_gate_is_verified_by_the_services_host_in_both_versions_and_nothing_falls_back() {
    let (pki, port, other) = (Pki::new(), free_port(), free_port());
    let ca = pki.authority("web");
    let leaf = |name: &str, host: &str| {
        let names = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:{host}\n");
        pki.leaf(name, &ca, &names)
    };
    let (own, foreign) = (leaf("own", "shop.example.com"), leaf("foreign", "other.example.com"));
    let listener = |name: &str, port: u16| {
        format!(
            "{{name: {name}, address: \"127.0.0.1:{port}\", tls: {{certificate: {name}.crt, key: {name}.key}}}}"
        )
    };
    let tools = Tools::furnished(|plan| {
        plan.file("own.crt", &own.pem())
            .file("own.key", &own.key_pem())
            .file("foreign.crt", &foreign.pem())
            .file("foreign.key", &foreign.key_pem())
            .listener(&listener("own", port))
            .listener(&listener("foreign", other))
    });
    let roots = ca.certificate.to_str().unwrap();
    for (port, said) in [(port, "upstream 200"), (other, " 502")] {
        let gate = format!("https://127.0.0.1:{port}");
        let connect = Connect::start(
            &tools.house,
            "ana",
            &["shop", "--gate", &gate],
            &[("SSL_CERT_FILE", roots)],
        );
        let url = format!("http://{}/", connect.at("shop"));
        for option in ["--http1.1", "--http2-prior-knowledge"] {
            let answer = curl(&[option, "-w", " %{http_code}", &url]);
            assert!(answer.ends_with(said), "{option}: {answer}");
            if port == other {
                connect.until_said("cannot reach shop.example.com");
            }
        }
    }
    assert_eq!(tools.upstream.take().len(), 2);
}

#[test]
fn websockets_over_http2_are_not_offered_and_tools_fall_back_to_http1() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["shop"], &[]);
    let (python, path) = script("frames_peer.py");
    let gate = tools.house.gate_token(&tools.control);
    let (at, host) = (connect.at("shop").to_string(), "shop.example.com");
    for (address, authority) in [(at.clone(), at.as_str()), (tools.house.gate.to_string(), host)] {
        let output = Command::new(&python)
            .arg(&path)
            .args(["extended", &address, authority, &gate])
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("offered: no"), "{authority}: {said}");
        let outcome = said.lines().last().unwrap();
        let refused = ["reset PROTOCOL_ERROR", "goaway PROTOCOL_ERROR", "status 400", "status 405"];
        assert!(refused.iter().any(|one| outcome.ends_with(one)), "{authority}: {said}");
    }
    assert!(tools.upstream.take().is_empty(), "nothing reached the service");
    // What speaks HTTP/2 there otherwise opens its WebSocket on a connection of its own: see the test above.
    assert_eq!(curl(&["--http2-prior-knowledge", &format!("http://{at}/")]), "upstream");
}
