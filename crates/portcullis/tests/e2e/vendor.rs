//! Doubles of incident systems, as programs that know nothing of this one.

use std::{cell::RefCell, time::Duration};

use portcullis_testkit::Process;
use serde_json::{Value, json};

use crate::pki::python;

const PATIENCE: Duration = Duration::from_mins(1);

/// A double. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Vendor {
    process: RefCell<Process>,
    pub(crate) url: String,
}

impl Vendor {
    /// Runs `script`.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = python(script);
        command.args(arguments);
        let process = Process::start(&mut command);
        let port = process.wait_for_line("port ", PATIENCE);
        Self { process: RefCell::new(process), url: format!("http://127.0.0.1:{port}") }
    }

    /// Orders something: `{"do": "trigger", …}`.
    pub(crate) fn order(&self, what: &Value) -> Value {
        let mut process = self.process.borrow_mut();
        process.tell(&what.to_string());
        let done: Value = serde_json::from_str(&process.wait_for_line("done ", PATIENCE)).unwrap();
        assert!(done.get("broken").is_none(), "{what}: {done}");
        done
    }

    /// Sends its messages there.
    pub(crate) fn aim(&self, url: &str) {
        self.order(&json!({"do": "aim", "url": url}));
    }

    /// Delivers a message once more, or for the first time; what it was answered.
    pub(crate) fn deliver(&self, made: &Value, sign: &str) -> u64 {
        let order = json!({"do": "deliver", "event": made["event"], "sign": sign});
        self.order(&order).as_u64().unwrap()
    }

    /// What callers did wrong.
    pub(crate) fn faults(&self) -> Value {
        self.order(&json!({"do": "seen"}))["faults"].clone()
    }
}
