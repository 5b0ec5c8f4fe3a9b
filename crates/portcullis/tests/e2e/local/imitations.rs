//! A service that answers as the gate refuses: the same words, the same code, the request's own id, and the mark.
//! It is answered to the tool, and nothing else comes of it.

use std::process::Command;

use super::{Tools, curl};
use crate::{
    connect::Connect,
    streams::script,
    upstream::{Received, Upstream},
};

/// Marks that a service could think of.
const MARKS: &str = "Portcullis-Refusal: requestable;id=\"CODE\"\r\nPortcullis_Refusal: unauthenticated\r\n\
                     portcullis.refusal: requestable;id=\"CODE\"\r\nPortcullis-Request-Id: REQUEST\r\n";

/// What a service answers that was told a refusal's code.
fn imitate(request: &Received) -> String {
    let of = |name: &str| request.headers(name).first().map_or(String::new(), |v| (*v).to_owned());
    let problem = |kind: &str, status: u16| {
        format!(
            r#"{{"type":"http://127.0.0.1/problems/{kind}","title":"t","status":{status},"detail":"theirs","request":"REQUEST","service":"shop","operation":"shop.PUT","refusal":"CODE","ways":[],"ask":"portcullis ask CODE"}}"#
        )
    };
    let whole = |line: &str, kind: &str, body: &str| {
        let body =
            body.replace("CODE", &of("x-code")).replace("REQUEST", &of("portcullis-request-id"));
        let length = body.len();
        format!(
            "HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{MARKS}\r\n{body}"
        )
    };
    let json = "application/problem+json";
    let answer = match of("x-imitate").as_str() {
        "unauthenticated" => whole("401 Unauthorized", json, &problem("unauthenticated", 401)),
        "requestable" => whole("403 Forbidden", json, &problem("requestable", 403)),
        "page" => whole("403 Forbidden", "text/html", "<h1>403</h1>"),
        "call" => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\ngrpc-status: 7\r\n\
             grpc-message: shop.PUT on shop needs a grant; portcullis ask CODE\r\n{MARKS}\r\n"
        ),
        "hint" => format!(
            "HTTP/1.1 103 Early Hints\r\n{MARKS}\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n{MARKS}\r\ntheirs"
        ),
        "trailer" => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Portcullis-Refusal\r\n\r\n6\r\ntheirs\r\n0\r\n{MARKS}\r\n"
        ),
        other => panic!("{other}"),
    };
    answer.replace("CODE", &of("x-code")).replace("REQUEST", &of("portcullis-request-id"))
}

impl Tools {
    /// A refusal of ana's that she could ask about.
    fn refusal(&self, service: &str, method: &str, path: &str) -> String {
        let token = self.house.gate_token(&self.control);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {service}.example.com\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = crate::wire::exchange(self.house.gate, head);
        let code = answer.json()["refusal"].as_str().unwrap().to_owned();
        let mark = format!("requestable;id=\"{code}\"");
        assert_eq!(answer.header("portcullis-refusal"), Some(mark.as_str()));
        code
    }

    /// What was made for `connect`.
    fn made(&self) -> Vec<String> {
        let own = self.house.api("GET", "/v1/sign-ins", Some(&self.control), None).json();
        let all = own["sign_ins"].as_array().unwrap().iter();
        let ids = all.filter(|one| !one["service"].is_null()).map(|one| one["id"].to_string());
        ids.collect()
    }

    /// Nothing was asked for.
    fn nothing_is_asked_for(&self) {
        let all = self.house.api("GET", "/v1/access-requests", Some(&self.control), None).json();
        assert_eq!(all["access_requests"], serde_json::json!([]), "{all:#}");
    }
}

#[test]
fn c14_a_service_that_imitates_a_refusal_is_passed_on_and_nothing_happens() {
    let tools = Tools::of(Upstream::replying(imitate), |plan| plan);
    let code = tools.refusal("shop", "PUT", "/page");
    let connect = Connect::start(&tools.house, "ana", &["shop", "--reason", "stuck"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    let (code_header, mut made) = (format!("X-Code: {code}"), Vec::new());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (kind, shown) in [
            ("unauthenticated", "theirs"),
            ("requestable", "theirs"),
            ("page", "<h1>403</h1>"),
            ("call", "grpc-status: 7"),
            ("hint", "theirs"),
            ("trailer", "theirs"),
        ] {
            let kind_header = format!("X-Imitate: {kind}");
            let arguments =
                [version, "-i", "-HTE: trailers", "-H", &kind_header, "-H", &code_header, &url];
            let said = curl(&arguments);
            assert!(said.contains(shown), "{kind}: {said}");
            let folded = said.to_lowercase().replace(['_', '.'], "-");
            assert!(!folded.contains("portcullis-refusal:"), "{kind}: {said}");
            if made.is_empty() {
                made = tools.made();
            }
        }
    }
    // What the gate itself says after that is told, so what came before it was heard.
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let said = curl(&[version, "-i", "-X", "PATCH", &url]);
        assert!(said.contains("ortcullis-") && said.contains("efusal: denied"), "{said}");
    }
    let said = connect.until_said("shop.PATCH refused");
    assert_eq!(said.lines().count(), 1, "{said}");
    tools.nothing_is_asked_for();
    assert_eq!(made.len(), 1);
    assert_eq!(tools.made(), made, "it is the same sign-in still");
}

#[test]
fn c14_a_grpc_service_that_imitates_a_refusal_is_passed_on_and_nothing_happens() {
    let tools = Tools::open();
    let code = tools.refusal("shop", "PUT", "/page");
    let connect = Connect::start(&tools.house, "ana", &["grpc", "shop", "--reason", "stuck"], &[]);
    let (python, path) = script("grpc_peer.py");
    let at = connect.at("grpc").to_string();
    let output = Command::new(python).arg(path).args(["imitated", &at, &code]).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let words = format!("grpc.Unary on grpc needs a grant; portcullis ask {code}");
    assert_eq!(said.trim(), format!("PERMISSION_DENIED: {words} []"));
    curl(&["-X", "PATCH", &format!("http://{}/", connect.at("shop"))]);
    let said = connect.until_said("shop.PATCH refused");
    assert_eq!(said.lines().count(), 1, "{said}");
    tools.nothing_is_asked_for();
}

#[test]
fn c14_curl_says_of_a_refusal_what_control_knows_and_nothing_of_one_that_is_none() {
    let tools = Tools::of(Upstream::replying(imitate), |plan| plan);
    let code = tools.refusal("shop", "DELETE", "/page");
    let gate = format!("http://{}", tools.house.gate);
    let told = |code: &str| {
        let header = format!("X-Code: {code}");
        let arguments = ["curl", "--gate", &gate, "-sS", "-HX-Imitate: requestable", "-H", &header];
        let url = "http://shop.example.com/";
        let output = tools.house.cli("ana", &[&arguments[..], &[url]].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(told("0000"), "");
    // A code that is ana's own is worth what it is, and in the words that are true.
    let said = told(&code);
    assert!(
        said.contains("shop.DELETE on shop needs a grant") && !said.contains("theirs"),
        "{said}"
    );
}
