//! Those whom the record is passed on to, as programs that know nothing of this one.

use std::time::{Duration, Instant};

use portcullis_testkit::Process;
use serde_json::Value;

use crate::pki::python;

/// What signs, known to both sides.
pub(crate) const SECRET: &str = "whsec_c2l4IGFuZCB0aGlydHkgYnl0ZXMgb2Ygbm90aGluZw==";
const PATIENCE: Duration = Duration::from_mins(1);

/// A receiver. Ends when dropped.
#[derive(Debug)]
pub(crate) struct SinkPeer {
    process: Process,
    script: &'static str,
    arguments: Vec<String>,
    pub(crate) port: u16,
    /// All that came so far.
    pub(crate) got: Vec<Value>,
}

impl SinkPeer {
    /// Receives posts.
    pub(crate) fn http() -> Self {
        Self::of("sink_peer.py", &["http", "0", SECRET])
    }

    /// Collects syslog.
    pub(crate) fn syslog(arguments: &[&str]) -> Self {
        Self::of("sink_peer.py", arguments)
    }

    /// Another one, whose second argument is its port.
    pub(crate) fn of(script: &'static str, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let (process, port) = run(script, &arguments);
        Self { process, script, arguments, port, got: Vec::new() }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was.
    pub(crate) fn again(&mut self) {
        self.arguments[1] = self.port.to_string();
        (self.process, self.port) = run(self.script, &self.arguments);
    }

    /// What it does from now on: `answer 503`.
    pub(crate) fn now(&mut self, line: &str) {
        self.process.tell(line);
        // What came before it is kept.
        loop {
            let said = self.process.wait_for_line("", PATIENCE);
            if said == format!("now {line}") {
                return;
            }
            if let Some(got) = said.strip_prefix("got ") {
                self.got.push(serde_json::from_str(got).unwrap());
            }
        }
    }

    /// Waits for the next that comes.
    pub(crate) fn next(&mut self) -> Value {
        let got = self.any();
        assert!(got.get("failed").is_none(), "{got:#}");
        got
    }

    fn any(&mut self) -> Value {
        let line = self.process.wait_for_line("got ", PATIENCE);
        let got: Value = serde_json::from_str(&line).unwrap();
        self.got.push(got.clone());
        got
    }

    /// Waits until one comes for which `which` holds.
    pub(crate) fn until(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let got = self.any();
            if which(&got) {
                return got;
            }
            assert!(Instant::now() < deadline, "it did not come: {:#?}", self.got);
        }
    }

    /// The same for what may have come before.
    pub(crate) fn until_any(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        match self.got.iter().find(|got| which(got)).cloned() {
            Some(got) => got,
            None => self.until(which),
        }
    }

    /// All events that were taken, lists of them taken apart.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let taken = self.got.iter().filter(|got| got["answer"] == 200);
        let bodies = taken.map(|got| match &got["body"] {
            Value::Array(items) => items.clone(),
            one => vec![one.clone()],
        });
        bodies.flatten().collect()
    }

    /// The same while others fail to talk to it.
    pub(crate) fn collected(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(event) = self.taken().into_iter().find(&which) {
                return event;
            }
            self.any();
        }
    }

    /// Waits until an event was taken for which `which` holds.
    pub(crate) fn event(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(event) = self.taken().into_iter().find(&which) {
                return event;
            }
            self.next();
        }
    }
}

fn run(script: &str, arguments: &[String]) -> (Process, u16) {
    let mut command = python(script);
    command.args(arguments);
    let process = Process::start(&mut command);
    let port = process.wait_for_line("port ", PATIENCE).parse().unwrap();
    (process, port)
}
