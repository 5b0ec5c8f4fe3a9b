//! Access that tools turn out to need: asked for, waited for, granted, and announced before it ends.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use portcullis_testkit::net::free_port;
use serde_json::{Value, json};

use super::{Tools, curl};
use crate::{connect::Connect, mesh::eventually, people::Person};

/// The only access request that there is.
fn asked(tools: &Tools) -> Value {
    let all = tools.house.api("GET", "/v1/access-requests", Some(&tools.control), None).json();
    all["access_requests"][0].clone()
}

fn approve(tools: &Tools) {
    let lead = tools.house.sign_in(&Person::new("lea", &["leads"]));
    let asked = asked(tools);
    assert_eq!(asked["reason"], "the shop is stuck", "{asked:#}");
    let path = format!("/v1/access-requests/{}/reviews", asked["id"].as_str().unwrap());
    let body = json!({"decision": "approve"});
    let answer = tools.house.api("POST", &path, Some(&lead), Some(body));
    assert!(answer.status < 300, "{}", answer.text());
}

#[test]
fn what_a_tool_needs_is_asked_for_with_the_reason_that_was_given() {
    let tools = Tools::open();
    let connect =
        Connect::start(&tools.house, "ana", &["shop", "--reason", "the shop is stuck"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    let put = || curl(&["-X", "PUT", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!(put(), "403");
    let said = connect.until_said("0 of 1 reviews");
    assert!(said.contains("you can get this") && said.contains("portcullis ask "), "{said}");
    // Again meanwhile: it is not asked for twice.
    assert_eq!(put(), "403");
    approve(&tools);
    let said = connect.until_said("now send the same request again");
    assert!(said.contains("granted shop.PUT: "), "{said}");
    assert_eq!(put(), "200");
    let all = tools.house.api("GET", "/v1/access-requests", Some(&tools.control), None).json();
    assert_eq!(all["access_requests"].as_array().unwrap().len(), 1, "{all:#}");
}

#[test]
fn e34_what_was_named_is_asked_for_first_and_its_end_is_announced() {
    let tools = Tools::open();
    let arguments = ["shop", "--ask", "shop.DELETE", "--reason", "clean up"];
    let mut connect = Command::new(crate::house::binary())
        .args(["connect", "shop", "--output", "json"])
        .env("PORTCULLIS_HOME", tools.house.dir().join("homes/ana"))
        .env("PORTCULLIS_GATE", format!("http://{}", tools.house.gate))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut told = std::io::BufReader::new(connect.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut told, &mut line).unwrap();
    connect.kill().unwrap();
    connect.wait().unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["url"], format!("http://{}", told["address"].as_str().unwrap()), "{told}");
    let connect = Connect::start(&tools.house, "ana", &arguments, &[]);
    let url = format!("http://{}/", connect.at("shop"));
    assert_eq!(curl(&["-X", "DELETE", &url]), "upstream");
    let said = connect.until_said("extend");
    assert!(said.contains("ends soon") && said.contains("--for 30m"), "{said}");
}

#[test]
fn a_request_may_wait_at_the_gate_for_its_approval() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["shop", "--wait", "1m"], &[]);
    let url = format!("http://{}/", connect.at("shop"));
    let waiting = std::thread::spawn(move || curl(&["--max-time", "60", "-X", "PUT", &url]));
    connect.until_said("the request waits for an approval");
    let lead = tools.house.sign_in(&Person::new("lea", &["leads"]));
    let path = format!("/v1/access-requests/{}/reviews", asked(&tools)["id"].as_str().unwrap());
    let body = json!({"decision": "approve"});
    let answer = tools.house.api("POST", &path, Some(&lead), Some(body));
    assert!(answer.status < 300, "{}", answer.text());
    assert_eq!(waiting.join().unwrap(), "upstream");
}

/// `portcullis connect` on a terminal, and all that stood there so far.
struct Terminal {
    child: std::process::Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn connect(tools: &Tools, port: u16) -> Self {
        let line = format!("{} connect shop={port}", crate::house::binary().display());
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("PORTCULLIS_HOME", tools.house.dir().join("homes/ana"))
            .env("PORTCULLIS_GATE", format!("http://{}", tools.house.gate))
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut out, more) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                more.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { child, shown }
    }

    /// Waits until `words` stand there so often.
    fn until(&self, words: &str, times: usize) -> String {
        eventually(words, || self.shown.lock().unwrap().matches(words).count() >= times);
        self.shown.lock().unwrap().replace("\r\n", "\n")
    }

    fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What runs on the terminal ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_said_while_a_question_is_open_does_not_run_into_it() {
    let tools = Tools::open();
    let port = free_port();
    let mut terminal = Terminal::connect(&tools, port);
    terminal.until("shop on http://", 1);
    let url = format!("http://127.0.0.1:{port}/");
    let question = "say why, or press return for later: ";
    curl(&["-X", "PUT", &url]);
    terminal.until(question, 1);
    curl(&["-X", "PATCH", &url]);
    let shown = terminal.until(question, 2);
    let between = shown.split(question).nth(1).unwrap();
    assert!(between.starts_with("\nshop.PATCH refused: "), "{shown}");
    assert!(between.ends_with("\nask for it now? "), "{shown}");
    terminal.types("the shop is stuck\n");
    terminal.until("0 of 1 reviews", 1);
    assert_eq!(asked(&tools)["reason"], "the shop is stuck");
}
