//! The Slack that the tests talk to, a program of its own.

use std::time::{Duration, Instant};

use portcullis_testkit::Process;
use serde_json::Value;

use crate::pki::python;

pub(super) const TEAM: &str = "T024BE7LD";
const PATIENCE: Duration = Duration::from_mins(1);

/// Slack. Ends when dropped.
#[derive(Debug)]
pub(super) struct SlackPeer {
    process: Process,
    pub(super) port: u16,
    /// What happened and nobody has waited for yet.
    unread: Vec<Value>,
    /// All that happened.
    pub(super) all: Vec<Value>,
}

impl SlackPeer {
    /// With these tokens and this secret.
    pub(super) fn start(secrets: &[&str]) -> Self {
        let mut command = python("slack_peer.py");
        command.arg("0").args(secrets);
        let process = Process::start(&mut command);
        let port = process.wait_for_line("port ", PATIENCE).parse().unwrap();
        Self { process, port, unread: Vec::new(), all: Vec::new() }
    }

    /// Somebody does something there; says what came of it.
    pub(super) fn order(&mut self, order: Value) -> Value {
        self.process.tell(&order.to_string());
        let done = self.until("done", |got| got["do"] == order["do"]);
        assert!(done.get("failed").is_none(), "{order}: {done}");
        done
    }

    /// Somebody begins to do something there.
    pub(super) fn begin(&mut self, order: Value) {
        self.process.tell(&order.to_string());
    }

    /// Waits for something that happened and nobody has waited for.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, which: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let wanted = |got: &Value| got["what"] == what && which(got);
        loop {
            if let Some(at) = self.unread.iter().position(wanted) {
                return self.unread.remove(at);
            }
            assert!(Instant::now() < deadline, "no such {what}: {:#?}", self.unread);
            self.read();
        }
    }

    /// How often something happened so far.
    pub(super) fn count(&self, which: impl Fn(&Value) -> bool) -> usize {
        self.all.iter().filter(|got| which(got)).count()
    }

    fn read(&mut self) {
        let line = self.process.wait_for_line("got ", PATIENCE);
        let got: Value = serde_json::from_str(&line).unwrap();
        self.all.push(got.clone());
        self.unread.push(got);
    }
}
