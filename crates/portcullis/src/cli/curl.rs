//! `portcullis curl`: the real curl, with my identity.
//!
//! The token goes to curl on its standard input, as configuration, so that no process list shows
//! it. It is made for the one service that the URL's host belongs to, and for ten minutes; where
//! no service has that host, nothing is sent. The answer passes through as it comes.

mod arguments;
mod masked;
mod options;
pub(super) mod refusal;

use std::{
    io::Write,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use clap::Args;
use portcullis_api::services::ServicesBody;
use portcullis_model::{Secret, Window};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, Command},
};
use url::Url;

use self::arguments::Wanted;
use super::{failure::Failure, profile, refused::Sent, screen::Screen, session::Session, token};

/// As much of an answer as is looked at for a refusal.
const LOOKED_AT: usize = 64 * 1024;
/// How a line of curl's begins that is the status of an answer.
const STATUS: &str = "portcullis-status ";
/// The same of one that says what was masked in it.
const MASKED: &str = "portcullis-masked ";
/// An answer that needs no approval comes sooner.
const MOMENT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Curl {
    /// Where the gate is, as a URL, if the services' hosts are not in DNS
    #[arg(long, env = "PORTCULLIS_GATE", value_parser = profile::server)]
    gate: Option<Url>,
    /// Wait at the gate for an approval if one is needed, like 2m
    #[arg(long, value_name = "DURATION")]
    wait: Option<Window>,
    /// Say what was masked in the answer, and how to ask for it
    #[arg(long)]
    show_masked: bool,
    /// What curl gets
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CURL ARGUMENTS"
    )]
    arguments: Vec<String>,
}

impl Curl {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<ExitCode, Failure> {
        let gate = self.gate.or_else(|| session.profile.gate.clone());
        let directory = std::env::current_dir().map_err(|error| {
            Failure::local("the working directory is gone; change to another one", &error)
        })?;
        let request = Sent { arguments: self.arguments, directory, gate };
        let said = Said { wait: self.wait, status: false, masked: self.show_masked };
        send(session, request, said).await
    }
}

/// How a request is sent, beside what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// It waits at the gate for an approval.
    pub(super) wait: Option<Window>,
    /// The answer's status is shown below the answer.
    pub(super) status: bool,
    /// What was masked in the answer is explained below it.
    pub(super) masked: bool,
}

impl Said {
    /// Whether curl is told to say something beside the answer.
    const fn says_more(self) -> bool {
        self.status || self.masked
    }
}

/// Sends it, with a token of its own.
pub(super) async fn send(
    mut session: Session<'_>,
    request: Sent,
    said: Said,
) -> Result<ExitCode, Failure> {
    let wanted = Wanted::read(&request.arguments).map_err(Failure::WrongUse)?;
    let services: ServicesBody = session.get("/v1/services").await?.read()?;
    let service = wanted.service(&services).map_err(Failure::WrongUse)?;
    let (made, _) = token::make(&mut session, service).await?;
    if said.masked && wanted.says_status() {
        let why = "`--show-masked` reads what curl writes out; leave --write-out and --stderr out";
        return Err(Failure::WrongUse(why.to_owned()));
    }
    let said = Said { status: said.status && !wanted.says_status(), ..said };
    let interactive = session.screen.is_terminal();
    let config = config(&made.token, &wanted, request.gate.as_ref(), said, interactive)?;
    let (screen, hint) = (session.screen, session.command("requests --mine"));
    let waits = said.wait.map(|wait| {
        let words = format!("no answer yet; it waits for {wait} at most, see `{hint}`");
        move || screen.note(&words)
    });
    let waits = waits.as_ref().map(|waits| waits as &dyn Fn());
    let notes = said.says_more().then_some((screen, said.status));
    let ran = run(&request, config.expose(), waits, notes).await;
    let (status, answer, masked) = ran.map_err(|error| {
        Failure::local("curl could not be run; is it installed and on the PATH?", &error)
    })?;
    if said.masked {
        masked::explain(&session, &services, service, &masked);
    }
    if let Some(refusal) = refusal::show(&mut session, &answer).await
        && wanted.repeatable()
        && let Err(error) = session.refused().keep(&refusal, request, session.now())
    {
        screen.note(&format!("this request cannot be remembered, to be sent again: {error}"));
    }
    Ok(exit_code(status))
}

/// curl's configuration. It carries the token, so it is a secret as a whole.
fn config(
    token: &Secret,
    wanted: &Wanted,
    gate: Option<&Url>,
    said: Said,
    terminal: bool,
) -> Result<Secret, Failure> {
    let mut lines = vec![format!("header = \"{}: Bearer {}\"", wanted.header(), token.expose())];
    // RFC 7240.
    lines.extend(
        said.wait.map(|wait| format!("header = \"Prefer: wait={}\"", wait.get().as_secs())),
    );
    if let Some(gate) = gate {
        let port = gate.port_or_known_default();
        let (Some(host), Some(port)) = (gate.host_str(), port) else {
            return Err(Failure::WrongUse(format!("`{gate}` names no host and port")));
        };
        // Whatever host and port the URL names, the connection goes to the gate.
        lines.push(format!("connect-to = \"::{host}:{port}\""));
    }
    // curl writes to a pipe here, and would hold streams back and draw a progress meter.
    lines.push("no-buffer".to_owned());
    // A proxy of the environment would read the token.
    lines.push("noproxy = \"*\"".to_owned());
    if terminal {
        lines.push("no-progress-meter".to_owned());
    }
    if said.says_more() {
        lines.push(format!(
            "write-out = \"%{{stderr}}{STATUS}%{{http_code}}\\n{MASKED}%header{{portcullis-masked}}\\n\""
        ));
    }
    lines.push(String::new());
    Ok(Secret::new(lines.join("\n")))
}

async fn run(
    request: &Sent,
    config: &str,
    waits: Option<&dyn Fn()>,
    notes: Option<(&Screen, bool)>,
) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<String>)> {
    let mut child = Command::new("curl")
        // No `~/.curlrc`: it could name a proxy or a second address.
        .args(["--disable", "--config", "-"])
        .args(&request.arguments)
        .current_dir(&request.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(if notes.is_some() { Stdio::piped() } else { Stdio::inherit() })
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config.as_bytes()).await?;
    }
    let said = child.stderr.take();
    let (answer, said) = tokio::join!(pass_through(&mut child, waits), complaints(said));
    let (answer, said) = (answer?, said?);
    if let Some((screen, shows_status)) = notes {
        // The shell's next words, and ours, begin on a line of their own.
        if answer.ends_open {
            screen.note("");
        }
        for status in said.statuses.iter().filter(|_| shows_status) {
            screen.note(status);
        }
    }
    Ok((child.wait().await?, answer.kept, said.masked))
}

/// What curl wrote beside the answer because it was told to.
#[derive(Debug, Default)]
struct Noted {
    statuses: Vec<String>,
    masked: Vec<String>,
}

/// Copies what curl complains about, and keeps what it was told to write there.
async fn complaints(said: Option<ChildStderr>) -> std::io::Result<Noted> {
    let mut noted = Noted::default();
    let Some(said) = said else { return Ok(noted) };
    let (mut said, mut line) = (BufReader::new(said), Vec::new());
    while said.read_until(b'\n', &mut line).await? > 0 {
        let text = std::str::from_utf8(&line).unwrap_or_default();
        if let Some(code) = text.strip_prefix(STATUS) {
            // Where it is none, that is curl's word for no answer at all: it has said why.
            let status = StatusCode::from_bytes(code.trim().as_bytes());
            noted.statuses.extend(status.ok().map(|status| status.to_string()));
        } else if let Some(classes) = text.strip_prefix(MASKED) {
            let classes = classes.split(',').map(str::trim).filter(|class| !class.is_empty());
            noted.masked.extend(classes.map(str::to_owned));
        } else {
            std::io::stderr().lock().write_all(&line)?;
        }
        line.clear();
    }
    Ok(noted)
}

/// What came.
#[derive(Debug, Default)]
struct Answer {
    /// Its beginning.
    kept: Vec<u8>,
    /// It ends in the middle of a line.
    ends_open: bool,
}

/// Copies the answer out as it comes, and keeps its beginning. `waits` says so if nothing comes for a
/// moment.
async fn pass_through(child: &mut Child, mut waits: Option<&dyn Fn()>) -> std::io::Result<Answer> {
    let mut came = Answer::default();
    let Some(mut answer) = child.stdout.take() else { return Ok(came) };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = answer.read(&mut buffer) => read?,
            () = tokio::time::sleep(MOMENT), if waits.is_some() => {
                waits.take().inspect(|say| say());
                continue;
            }
        };
        waits = None;
        let part = buffer.get(..read).unwrap_or_default();
        let Some(last) = part.last() else { return Ok(came) };
        came.ends_open = *last != b'\n';
        let room = LOOKED_AT.saturating_sub(came.kept.len());
        came.kept.extend(part.iter().take(room));
        let mut out = std::io::stdout().lock();
        out.write_all(part)?;
        out.flush()?;
    }
}

/// The child's own code; 128 and the signal's number where it had none, as shells say it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125);
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(arguments: &[&str], gate: Option<&str>) -> String {
        waiting(arguments, gate, None)
    }

    fn waiting(arguments: &[&str], gate: Option<&str>, wait: Option<Window>) -> String {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let wanted = Wanted::read(&arguments).unwrap();
        let gate = gate.map(|gate| Url::parse(gate).unwrap());
        let token = Secret::new("pc_sign_canary");
        config(&token, &wanted, gate.as_ref(), Said { wait, status: false, masked: false }, false)
            .unwrap()
            .expose()
            .to_owned()
    }

    #[test]
    fn the_gate_is_connected_to_whatever_the_url_says() {
        let config = config_of(&["http://payments.test/x"], Some("http://127.0.0.1:8080"));
        assert!(config.contains("connect-to = \"::127.0.0.1:8080\"\n"), "{config}");
        let config = config_of(&["http://payments.test/x"], Some("https://[::1]"));
        assert!(config.contains("connect-to = \"::[::1]:443\"\n"), "{config}");
        assert!(!config_of(&["http://payments.test/x"], None).contains("connect-to"));
    }

    #[test]
    fn who_waits_says_so_to_the_gate() {
        let config = waiting(&["http://payments.test/x"], None, Some(Window::minutes(2)));
        assert!(config.contains("header = \"Prefer: wait=120\"\n"), "{config}");
        assert!(!config_of(&["http://payments.test/x"], None).contains("Prefer"));
    }

    #[test]
    fn the_token_rides_where_curl_drops_it_on_a_redirect_to_another_host() {
        let config = config_of(&["-L", "http://payments.test/x"], None);
        assert!(config.starts_with("header = \"Authorization: Bearer pc_sign_canary\"\n"));
        let config = config_of(&["-u", "a:b", "http://payments.test/x"], None);
        assert!(config.starts_with("header = \"Portcullis-Authorization: Bearer pc_sign_canary\""));
    }
}
