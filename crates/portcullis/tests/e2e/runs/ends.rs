//! However a job ends, what it had is given back.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use super::{asked, end_of_request, ended, folder, lead, review, run, told, with_token, yard};
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

/// A way to control that swallows the first few of what has `word` in it, and how many there were.
fn swallowing(
    control: SocketAddr,
    word: &'static str,
    most: usize,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&seen);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(control).unwrap();
            let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let told = Arc::clone(&told);
            std::thread::spawn(move || carry(near, far, word, (&told, most)));
        }
    });
    (address, seen)
}

fn carry(mut near: TcpStream, mut far: TcpStream, word: &str, (seen, most): (&AtomicUsize, usize)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = near.read(&mut buffer) {
        let part = &buffer[..length];
        let has_it = part.windows(word.len()).any(|window| window == word.as_bytes());
        if has_it && seen.fetch_add(1, Ordering::SeqCst) < most {
            continue;
        }
        if far.write_all(part).is_err() {
            break;
        }
    }
    let _ = far.shutdown(Shutdown::Both);
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
    let (address, swallowed) = swallowing(yard.house().control, "\"lasting\"", usize::MAX);
    let environment = [("PORTCULLIS_URL".to_owned(), format!("http://{address}"))];
    let script =
        "trap 'echo told; exit 9' TERM; curl -s \"$PORTCULLIS_SHOP_URL/page\" & READY; wait";
    let child = begun_with(&yard, &environment, &["shop.DELETE"], script);
    eventually("a sign-in is wanted", || swallowed.load(Ordering::SeqCst) > 0);
    kill(&child, "-TERM");
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(9), "told\n"), "{err}");
    assert!(!err.contains("no sign-in could be made"), "it did not wait for control: {err}");
    assert_eq!(yard.gate("GET", &gate_token(&yard)), 401, "it was given back");
}

#[test]
fn a_heartbeat_that_is_not_answered_keeps_no_other_from_being_heard() {
    let yard = yard("10s");
    let (address, beats) = swallowing(yard.house().control, "/heartbeat", 1);
    let environment = [("PORTCULLIS_URL".to_owned(), format!("http://{address}"))];
    let script = "READY; while [ ! -f enough ]; do sleep 0.2; done; echo done";
    let mut child = begun_with(&yard, &environment, &["shop.DELETE"], script);
    // More than an interval is over when the fourth is on its way.
    eventually("they go on", || beats.load(Ordering::SeqCst) > 3);
    assert!(child.try_wait().unwrap().is_none(), "the run has ended");
    assert_eq!(yard.gate("DELETE", &gate_token(&yard)), 200);
    fs::write(folder(&yard).join("enough"), "").unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "done\n"), "{err}");
    assert!(err.contains("a heartbeat was not answered"), "{err}");
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
