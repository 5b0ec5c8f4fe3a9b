//! However a job ends, what it had is given back.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command},
    time::Duration,
};

use serde_json::Value;

use super::{
    asked, end_of_request, ended, folder, lead, review, run, told,
    way::{Swallowed, Way},
    with_token, yard,
};
use crate::{mesh::eventually, yard::Yard};

/// Starts it, and waits until its command says that it is there, where the script has READY.
fn begun(yard: &Yard, arguments: &[&str], script: &str) -> Child {
    begun_with(yard, &[], arguments, script)
}

fn begun_with(
    yard: &Yard,
    environment: &[(String, String)],
    arguments: &[&str],
    script: &str,
) -> Child {
    let script = script.replace("READY", "echo $PORTCULLIS_GATE_TOKEN > gate; touch ready");
    let environment = [with_token(&yard.sound("github")).as_slice(), environment].concat();
    let arguments = [arguments, &["--", "sh", "-c", &script]].concat();
    let mut child = run(yard, &environment, &arguments).spawn().unwrap();
    eventually("the command runs", || {
        assert!(child.try_wait().unwrap().is_none(), "it has ended: {:?}", yard.house().log());
        folder(yard).join("ready").exists()
    });
    child
}

fn kill(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// What the command had at the gate.
fn gate_token(yard: &Yard) -> String {
    fs::read_to_string(folder(yard).join("gate")).unwrap().trim().to_owned()
}

fn ended_grant(yard: &Yard) -> Value {
    let auditor = yard.auditor();
    let is_end = |event: &&Value| event["type"] == "grant_ended";
    let events = yard.house().record(&auditor, |events| events.iter().any(|event| is_end(&event)));
    events.iter().find(is_end).unwrap().clone()
}

#[test]
fn a_cancelled_job_tells_its_command_and_all_that_it_started() {
    let yard = yard("1m");
    for signal in ["-TERM", "-INT"] {
        let _ = fs::remove_file(folder(&yard).join("ready"));
        let child = begun(
            &yard,
            &["shop.DELETE"],
            "trap 'echo told; exit 9' TERM INT; sleep 600 & echo $! > child; READY; wait",
        );
        let inner = fs::read_to_string(folder(&yard).join("child")).unwrap();
        kill(&child, signal);
        let (code, out, err) = told(child.wait_with_output().unwrap());
        assert_eq!((code, out.as_str()), (Some(9), "told\n"), "{signal}: {err}");
        assert!(err.contains("cancelled"), "{err}");
        assert_eq!(yard.gate("DELETE", &gate_token(&yard)), 401, "it was given back");
        // In the background a shell leaves interrupts out; it is ended all the same.
        let stat = || fs::read_to_string(format!("/proc/{}/stat", inner.trim()));
        eventually("what it started is gone, too", || {
            stat().map_or(true, |stat| stat.contains(") Z "))
        });
    }
    assert_eq!(ended_grant(&yard)["decision"], "holder_gone");
}

#[test]
fn a_cancelled_job_tells_its_command_while_control_is_silent() {
    let yard = yard("1m");
    let way = Way::to(yard.house().control);
    way.swallow(Swallowed::LastingSignIns);
    let environment = [way.variable()];
    let script =
        "trap 'echo told; exit 9' TERM; curl -s \"$PORTCULLIS_SHOP_URL/page\" & READY; wait";
    let child = begun_with(&yard, &environment, &["shop.DELETE"], script);
    eventually("a sign-in is wanted", || way.has_swallowed());
    kill(&child, "-TERM");
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(9), "told\n"), "{err}");
    assert!(!err.contains("no sign-in could be made"), "it did not wait for control: {err}");
    assert_eq!(yard.gate("GET", &gate_token(&yard)), 401, "it was given back");
}

#[test]
fn a_command_that_crashes_ends_as_it_does_and_gives_back() {
    let yard = yard("1m");
    let script = "echo $PORTCULLIS_GATE_TOKEN > gate; kill -SEGV $$";
    let arguments = ["shop.DELETE", "--", "sh", "-c", script];
    let (code, _, err) = ended(run(&yard, &with_token(&yard.sound("github")), &arguments));
    assert_eq!(code, Some(139), "{err}");
    assert!(!err.contains("cancelled"), "{err}");
    assert_eq!(yard.gate("DELETE", &gate_token(&yard)), 401, "it was given back");
    assert_eq!(ended_grant(&yard)["decision"], "holder_gone");
}

#[test]
fn e34_a_job_is_told_once_what_it_has_and_before_it_ends() {
    let yard = yard("1m");
    let script = "curl -sS -o /dev/null -X DELETE $PORTCULLIS_SHOP_URL/page; READY; until [ -e go ]; do sleep 0.1; done";
    let mut child = begun(&yard, &["shop.DELETE", "--for", "50s"], script);
    let notes = heard(&mut child);
    let said = until(&notes, "shop.DELETE ends soon");
    fs::write(folder(&yard).join("go"), "").unwrap();
    assert_eq!(told(child.wait_with_output().unwrap()).0, Some(0));
    let said = said + &notes.iter().collect::<String>();
    assert_eq!(said.matches("granted shop.DELETE").count(), 1, "{said}");
    assert!(said.lines().all(|line| line.starts_with("portcullis: ")), "{said}");
    assert!(!said.contains("portcullis extend"), "nobody types in a log: {said}");
}

/// What a child says on its standard error, as it says it.
fn heard(child: &mut Child) -> std::sync::mpsc::Receiver<String> {
    let (tell, heard) = std::sync::mpsc::channel();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    heard
}

fn until(heard: &std::sync::mpsc::Receiver<String>, words: &str) -> String {
    let mut said = String::new();
    while !said.contains(words) {
        let line = heard.recv_timeout(Duration::from_mins(1));
        said += &line.unwrap_or_else(|error| panic!("{error}: no `{words}` in {said}"));
        said.push('\n');
    }
    said
}

#[test]
fn a_network_that_is_gone_for_a_moment_ends_nothing_and_one_that_stays_away_ends_the_run() {
    let yard = yard("15s");
    let way = Way::to(yard.house().control);
    let mut child = begun_with(
        &yard,
        &[way.variable()],
        &["shop.DELETE"],
        "trap 'echo told; exit 9' TERM; READY; while :; do sleep 0.2; done",
    );
    let notes = heard(&mut child);
    let token = gate_token(&yard);
    way.swallow(Swallowed::Everything);
    let said = until(&notes, "a heartbeat was not heard");
    assert!(said.contains("ends after 15 s without one"), "{said}");
    way.swallow(Swallowed::Nothing);
    until(&notes, "the server is there again");
    assert_eq!(yard.gate("DELETE", &token), 200, "the run goes on");
    way.swallow(Swallowed::Everything);
    until(&notes, "a heartbeat was not heard");
    eventually("the run has ended", || yard.gate("DELETE", &token) == 401);
    assert!(child.try_wait().unwrap().is_none(), "nobody could tell the command yet");
    way.swallow(Swallowed::Nothing);
    until(&notes, "the run has ended before the command");
    let (code, out, _) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(125), "told\n"));
    assert_eq!(ended_grant(&yard)["decision"], "holder_gone");
}

#[test]
fn who_waits_for_reviewers_goes_on_waiting_when_the_network_is_gone_for_a_moment() {
    let yard = yard("1m");
    let (lead, way) = (lead(&yard), Way::to(yard.house().control));
    let environment = [with_token(&yard.sound("github")), vec![way.variable()]].concat();
    let arguments = ["shop.POST", "--", "echo", "ran"];
    let mut child = run(&yard, &environment, &arguments).spawn().unwrap();
    let notes = heard(&mut child);
    until(&notes, "0 of 1 reviews");
    way.swallow(Swallowed::Everything);
    eventually("it has been looked for", || way.has_swallowed());
    review(&yard, &lead, &asked(&yard, &lead)[0], "approve");
    way.swallow(Swallowed::Nothing);
    until(&notes, "granted shop.POST: ");
    let (code, out, _) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "ran\n"));
}

#[test]
fn a_command_that_does_not_listen_is_ended_after_its_grace() {
    let yard = yard("1m");
    let child = begun(&yard, &["--grace", "1s"], "trap '' TERM; READY; while :; do sleep 1; done");
    kill(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), None);
    let (code, _, err) = told(output);
    assert_eq!(code, Some(137), "{err}");
    assert_eq!(yard.gate("GET", &gate_token(&yard)), 401);
}

#[test]
fn a_lost_runner_gives_back_by_its_silence() {
    let yard = yard("10s");
    let script = "echo $PORTCULLIS_SHOP_ADDR > address; echo $$ > child; READY; exec sleep 600";
    let mut child = begun(&yard, &["shop.DELETE"], script);
    let read = |name: &str| fs::read_to_string(folder(&yard).join(name)).unwrap_or_default();
    assert_eq!(yard.gate("DELETE", &gate_token(&yard)), 200);
    // As the kernel does it to what takes too much memory, or a provider to a machine.
    child.kill().unwrap();
    child.wait().unwrap();
    let address = read("address");
    assert!(std::net::TcpStream::connect(address.trim()).is_err(), "the address is gone at once");
    eventually("the run has ended", || yard.gate("DELETE", &gate_token(&yard)) == 401);
    assert_eq!(ended_grant(&yard)["decision"], "holder_gone");
    let _ = Command::new("kill").arg(read("child").trim()).status();
}

#[test]
fn a_job_that_is_cancelled_while_it_waits_withdraws_what_it_asked_for() {
    let yard = yard("1m");
    let lead = lead(&yard);
    let arguments = ["shop.POST", "--reason", "deploy", "--", "echo", "ran"];
    let child = run(&yard, &with_token(&yard.sound("github")), &arguments).spawn().unwrap();
    eventually("it has asked", || !asked(&yard, &lead).is_empty());
    kill(&child, "-INT");
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("cancelled before the command began"), "{err}");
    let end = ("withdrawn".to_owned(), "the run that asked has ended".to_owned());
    assert_eq!(end_of_request(&yard), end);
}

#[test]
fn a_job_waits_for_reviewers_no_longer_than_it_says() {
    let yard = yard("1m");
    let arguments = ["shop.POST", "--wait", "1s", "--", "echo", "ran"];
    let (code, out, err) = ended(run(&yard, &with_token(&yard.sound("github")), &arguments));
    assert_eq!((code, out.as_str()), (Some(125), ""), "{err}");
    assert!(err.contains("nobody has decided") && err.contains("--wait"), "{err}");
    let end = ("withdrawn".to_owned(), "the run that asked has ended".to_owned());
    assert_eq!(end_of_request(&yard), end);
}

#[test]
fn what_is_declined_is_said_with_the_reviewers_note() {
    let yard = yard("1m");
    let lead = lead(&yard);
    let arguments = ["shop.POST", "--", "echo", "ran"];
    let child = run(&yard, &with_token(&yard.sound("github")), &arguments).spawn().unwrap();
    let pending = || asked(&yard, &lead).into_iter().find(|one| one["state"] == "pending");
    eventually("it has asked", || pending().is_some());
    review(&yard, &lead, &pending().unwrap(), "decline");
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(125), ""), "{err}");
    assert!(err.contains("0 of 1 reviews") && err.contains("/requests/"), "{err}");
    assert!(err.contains("is declined") && err.contains("not today"), "{err}");
}
