//! A certified OpenID provider of somebody else's, and people who fill in its forms.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::Process;
use serde_json::Value;

use crate::secrecy::handed_out;

/// A running provider.
#[derive(Debug)]
pub(crate) struct Provider {
    process: Process,
    pub(crate) issuer: String,
}

impl Provider {
    /// Starts it on `port`, or any if 0, for control at `control`; `None` where its packages are not
    /// installed.
    pub(crate) fn start(port: u16, control: &str) -> Option<Self> {
        if !folder().join("node_modules/oidc-provider").is_dir() {
            let why = "run `npm ci` in tests/outsiders/oidc-provider first";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        for secret in ["portcullis-secret", "plain-secret", "batch-secret"] {
            handed_out(secret);
        }
        let mut command = Command::new("node");
        command.args(["server.mjs", &port.to_string(), control]);
        let process = Process::start(command.current_dir(folder()).stderr(Stdio::null()));
        let issuer = process.wait_for_line("listening ", Duration::from_mins(1));
        Some(Self { process, issuer })
    }

    /// Signs with a new key from now on.
    pub(crate) fn rotate(&mut self) {
        self.process.tell("rotate");
        self.process.wait_for_line("rotated ", Duration::from_mins(1));
    }

    /// Knows nothing of `account` any more.
    pub(crate) fn disable(&mut self, account: &str) {
        self.process.tell(&format!("disable {account}"));
        self.process.wait_for_line("disabled ", Duration::from_mins(1));
    }

    /// It crashes.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// An opaque token that `batch` gets for itself.
    pub(crate) fn batch_token(&self, asked: &[&str]) -> String {
        let form = [&["grant_type=client_credentials"], asked].concat();
        let answer: Value = serde_json::from_str(&self.post("/token", &form)).unwrap();
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        handed_out(&token);
        token
    }

    /// Its owner takes `token` back.
    pub(crate) fn revoke(&self, token: &str) {
        self.post("/token/revocation", &[&format!("token={token}")]);
    }

    fn post(&self, path: &str, form: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--max-time", "60", "-u", "batch:batch-secret"]);
        for pair in form {
            curl.args(["-d", pair]);
        }
        let output = curl.arg(format!("{}{path}", self.issuer)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// `login` fills in all forms from `address` on; what was printed then.
pub(crate) fn confirm(address: &str, login: &str, more: &[&str]) -> String {
    let mut command = Command::new("node");
    let command = command.args(["confirm.mjs", address, login]).args(more).current_dir(folder());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed} {said}");
    printed
}

/// `login` signs in where a browser was sent to; where it is sent back then.
pub(crate) fn sign_in(address: &str, login: &str, back: &str) -> String {
    let printed = confirm(address, login, &["--until", back]);
    printed.trim().strip_prefix("back ").expect("it leads back").to_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders/oidc-provider")
}
