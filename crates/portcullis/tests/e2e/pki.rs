//! Authorities and certificates, made by openssl, and programs that present them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use portcullis_testkit::TempDir;

use crate::shop::HOST;

/// A leaf's usual extensions.
const LEAF: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n";
const AUTHORITY: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";

/// A folder with everything that openssl makes.
#[derive(Debug)]
pub(crate) struct Pki {
    folder: TempDir,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// The certificate's PEM.
    pub(crate) fn pem(&self) -> String {
        fs::read_to_string(&self.certificate).unwrap()
    }

    /// The key's PEM.
    pub(crate) fn key_pem(&self) -> String {
        fs::read_to_string(&self.key).unwrap()
    }
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A file of this name, which is not there yet.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A self-signed authority.
    pub(crate) fn authority(&self, name: &str) -> Pair {
        self.issue(name, None, AUTHORITY, "30")
    }

    /// An authority certified by `by`; its file holds no more than itself.
    pub(crate) fn intermediate(&self, name: &str, by: &Pair) -> Pair {
        self.issue(name, Some(by), AUTHORITY, "30")
    }

    /// A server's certificate for the shop's host.
    pub(crate) fn server(&self, name: &str, by: &Pair) -> Pair {
        self.issue(name, Some(by), &format!("{LEAF}subjectAltName=DNS:{HOST}\n"), "2")
    }

    /// A workload's certificate for this SPIFFE ID.
    pub(crate) fn svid(&self, name: &str, by: &Pair, id: &str) -> Pair {
        self.leaf(name, by, &format!("{LEAF}subjectAltName=URI:{id}\n"))
    }

    /// A leaf with exactly these extensions.
    pub(crate) fn leaf(&self, name: &str, by: &Pair, extensions: &str) -> Pair {
        self.issue(name, Some(by), extensions, "2")
    }

    /// A workload's certificate whose last day was yesterday.
    pub(crate) fn expired(&self, name: &str, by: &Pair, id: &str) -> Pair {
        self.issue(name, Some(by), &format!("{LEAF}subjectAltName=URI:{id}\n"), "-1")
    }

    fn issue(&self, name: &str, by: Option<&Pair>, extensions: &str, days: &str) -> Pair {
        let at = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        let (certificate, key, request, wanted) = (at("pem"), at("key"), at("csr"), at("ext"));
        fs::write(&wanted, extensions).unwrap();
        let subject = format!("/CN={name}");
        openssl(
            &["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &["-subj", &subject, "-keyout", text(&key), "-out", text(&request)],
        );
        let signer = match by {
            Some(by) => vec!["-CA", text(&by.certificate), "-CAkey", text(&by.key)],
            None => vec!["-signkey", text(&key)],
        };
        let serial = format!("{}", fs::read_dir(self.folder.path()).unwrap().count());
        let common = ["x509", "-req", "-in", text(&request), "-out", text(&certificate)];
        let rest = ["-days", days, "-set_serial", &serial, "-extfile", text(&wanted)];
        openssl(&common, &[&rest, signer.as_slice()].concat());
        Pair { certificate, key }
    }
}

fn openssl(first: &[&str], rest: &[&str]) {
    let output = Command::new("openssl").args(first).args(rest).output().unwrap();
    assert!(output.status.success(), "{rest:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What curl got from the shop's page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// 0 if there was no answer.
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Of curl: 0, or why it got nothing.
    pub(crate) code: i32,
}

/// Asks `https://HOST:port/page`, with a certificate if there is one, certified by `ca`.
pub(crate) fn curl(port: u16, ca: &Path, client: Option<&Pair>, more: &[&str]) -> Got {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
        .arg("--cacert")
        .arg(ca);
    if let Some(pair) = client {
        command.arg("--cert").arg(&pair.certificate).arg("--key").arg(&pair.key);
    }
    let url = format!("https://{HOST}:{port}/page");
    let output = command.args(more).arg(url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').unwrap();
    let (status, body) = (status.parse().unwrap(), body.to_owned());
    Got { status, body, code: output.status.code().unwrap() }
}

/// An outsider's TLS connection that stays open: Python's own, one request per line.
#[derive(Debug)]
pub(crate) struct Open {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Open {
    /// Connects and shakes hands.
    pub(crate) fn connect(port: u16, ca: &Path, client: &Pair) -> Self {
        let mut child = python("mtls_peer.py")
            .args([&port.to_string(), HOST, text(ca)])
            .args([&client.certificate, &client.key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut open = Self { child, stdin, stdout: BufReader::new(stdout) };
        assert_eq!(open.line(), "connected");
        open
    }

    /// The status of one more request on the same connection, or what broke.
    pub(crate) fn get(&mut self) -> String {
        self.stdin.write_all(b"/page\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Python with one of the scripts of outsiders.
pub(crate) fn python(script: &str) -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = root.join(".cache/python/bin/python");
    let mut command =
        Command::new(std::env::var_os("PORTCULLIS_PYTHON").map_or(own, PathBuf::from));
    command.arg(root.join("tests/outsiders").join(script));
    command
}
