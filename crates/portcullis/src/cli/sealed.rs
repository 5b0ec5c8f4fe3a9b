//! `portcullis sealed`: credentials for the day on which nothing else answers, made in advance.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use portcullis_api::sealed_credentials::{
    ProposeSealedBody, RevokeSealedBody, SealedBody, SealedListBody,
};
use portcullis_identity::sealed::SealedFile;
use portcullis_model::{PolicyId, Secret, ServiceName, Window};

use super::{
    client::Fetched, failure::Failure, incidents::written, screen::Screen, session::Session, when,
};
use crate::ambient::SystemEntropy;

/// Argon2id makes guessing slow, and a short passphrase quick again.
const SHORTEST: usize = 12;
const PASSPHRASE: &str = "PORTCULLIS_PASSPHRASE";

#[derive(Debug, Args)]
pub(crate) struct Sealed {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists sealed credentials
    List,
    /// Makes a key under a passphrase, and proposes a sealed credential for it
    Propose(Propose),
    /// Agrees to what another person proposed
    Agree {
        /// The sealed credential
        id: String,
    },
    /// Completes the file of a sealed credential that two people agreed to
    Fetch {
        /// The file that `propose` made
        file: PathBuf,
    },
    /// Revokes a sealed credential, and ends what it opened
    Revoke {
        /// The sealed credential
        id: String,
        /// Why
        #[arg(long)]
        why: String,
    },
}

#[derive(Debug, Args)]
struct Propose {
    /// The one service
    service: ServiceName,
    /// The one emergency rule
    #[arg(long)]
    rule: PolicyId,
    /// Who uses it, like corp:ana
    #[arg(long)]
    holder: String,
    /// What it is for
    #[arg(long)]
    purpose: String,
    /// How long one opening lasts at most, like 15m; as long as the rule says if absent
    #[arg(long = "for", value_name = "DURATION")]
    window: Option<Window>,
    /// How long it is good for, like 90d; 180 days at most
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    valid_for: Window,
    /// Where to write the locked key
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Sealed {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None | Some(What::List) => list(session).await,
            Some(What::Propose(propose)) => propose.run(session).await,
            Some(What::Agree { id }) => {
                let path = format!("/v1/sealed-credentials/{id}/agree");
                let answer = session.post(&path, None).await?;
                shown(&session, &answer)
            }
            Some(What::Fetch { file }) => fetch(session, &file).await,
            Some(What::Revoke { id, why }) => {
                let path = format!("/v1/sealed-credentials/{id}/revoke");
                let answer = session.post(&path, Some(written(&RevokeSealedBody { why })?)).await?;
                shown(&session, &answer)
            }
        }
    }
}

impl Propose {
    async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let passphrase = new_passphrase(session.screen)?;
        let file = SealedFile::generate(&passphrase, &SystemEntropy);
        let file = file.map_err(|error| Failure::local("no key can be made", &error))?;
        // Before anybody is asked to agree to it.
        write_new(&self.out, &file)?;
        let body = ProposeSealedBody {
            service: self.service,
            rule: self.rule,
            holder: self.holder,
            purpose: self.purpose,
            window: self.window,
            valid_for: self.valid_for,
            public_key: file.public_key.clone(),
        };
        let body = written(&body)?;
        let answer = session.post("/v1/sealed-credentials", Some(body)).await;
        let answer = answer.inspect_err(|_| {
            // Of no use to anybody.
            let _ = fs::remove_file(&self.out);
        })?;
        let proposed: SealedBody = answer.read()?;
        let id = proposed.id.parse();
        let id = id.map_err(|error| Failure::local("the server's answer", &error))?;
        replace(&self.out, &file.with_id(id))?;
        if !session.screen.is_json() {
            let agree = session.command(&format!("sealed agree {}", proposed.id));
            session.screen.note(&format!("somebody else agrees to it with `{agree}`"));
            let fetch = session.command(&format!("sealed fetch {}", self.out.display()));
            session.screen.note(&format!("then `{fetch}` completes the file"));
        }
        shown(&session, &answer)
    }
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/sealed-credentials").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: SealedListBody = fetched.read()?;
    let now = session.now();
    let row = |one: &SealedBody| {
        let state = match (one.expires_at, &one.why) {
            (Some(until), _) => format!("{}, {}", one.state, when::until(until, now)),
            (None, Some(why)) => format!("{}: {why}", one.state),
            (None, None) => one.state.clone(),
        };
        vec![
            one.id.clone(),
            one.holder.clone(),
            one.service.clone(),
            one.rule.clone(),
            one.window.to_string(),
            one.purpose.clone(),
            state,
        ]
    };
    let rows = all.sealed_credentials.iter().map(row).collect();
    let header = ["id", "holder", "service", "rule", "each time", "what for", "state"];
    session.screen.table("there are no sealed credentials", &header, rows);
    Ok(())
}

async fn fetch(mut session: Session<'_>, path: &Path) -> Result<(), Failure> {
    let file = read(path)?;
    let id = file.id.ok_or_else(|| {
        Failure::WrongUse(format!("{} was never proposed; make a new one", path.display()))
    })?;
    let answer = session.get(&format!("/v1/sealed-credentials/{id}")).await?;
    let one: SealedBody = answer.read()?;
    if one.public_key != file.public_key.to_string() {
        return Err(Failure::Refused("the server has another key for it".to_owned()));
    }
    let Some(signed) = one.signed else {
        return Err(Failure::Refused(format!("the sealed credential is {}", one.state)));
    };
    replace(path, &file.with_signed(signed))?;
    if !session.screen.is_json() {
        let complete = format!("{} is complete: keep it and its passphrase apart", path.display());
        session.screen.note(&complete);
    }
    shown(&session, &answer)
}

fn shown(session: &Session<'_>, answer: &Fetched) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.body(&answer.body);
        return Ok(());
    }
    let one: SealedBody = answer.read()?;
    let (service, rule, holder) = (&one.service, &one.rule, &one.holder);
    let words = format!(
        "sealed credential {} is {}: {service} by {rule} for {holder}, {} each time",
        one.id, one.state, one.window
    );
    session.screen.line(&words);
    Ok(())
}

/// The file at `path`.
pub(super) fn read(path: &Path) -> Result<SealedFile, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::local(&format!("{shown} cannot be read"), &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::local(&format!("{shown} is no sealed credential"), &error))
}

fn write_new(path: &Path, file: &SealedFile) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::local(&format!("{} cannot be written", path.display()), error)
    };
    let text = serde_json::to_string_pretty(file).map_err(|error| failed(&error))?;
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut made = made.map_err(|error| failed(&error))?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(|error| failed(&error))
}

/// The same file with more in it, in one step.
fn replace(path: &Path, file: &SealedFile) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    write_new(&new, file)?;
    fs::rename(&new, path)
        .map_err(|error| Failure::local(&format!("{} cannot be written", path.display()), &error))
}

/// The passphrase of a file that is there.
pub(super) fn passphrase(screen: &Screen) -> Result<Secret, Failure> {
    if let Some(given) = std::env::var_os(PASSPHRASE) {
        let given = given.into_string();
        return given
            .map(Secret::new)
            .map_err(|_| Failure::WrongUse(format!("{PASSPHRASE} is no text")));
    }
    if !screen.is_interactive() {
        return Err(Failure::WrongUse(format!("give the passphrase in {PASSPHRASE}")));
    }
    let asked = inquire::Password::new("Passphrase:").without_confirmation().prompt();
    asked.map(Secret::new).map_err(|error| Failure::local("no passphrase was given", &error))
}

fn new_passphrase(screen: &Screen) -> Result<Secret, Failure> {
    let given = if std::env::var_os(PASSPHRASE).is_some() || !screen.is_interactive() {
        passphrase(screen)?
    } else {
        let asked = inquire::Password::new("New passphrase:").prompt();
        let asked = asked.map_err(|error| Failure::local("no passphrase was given", &error))?;
        Secret::new(asked)
    };
    if given.expose().chars().count() < SHORTEST {
        let message =
            format!("the passphrase has less than {SHORTEST} characters; take five words");
        return Err(Failure::WrongUse(message));
    }
    Ok(given)
}
