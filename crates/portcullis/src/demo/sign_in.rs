//! `portcullis demo sign-in NAME CODE`: fills in the provider's form, as a person would in a browser.

use std::{
    io::{BufRead, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

/// Who, and with which code.
#[derive(Debug, Args)]
pub(super) struct SignIn {
    /// ana, ben, lea or sam
    name: String,
    /// The code that `portcullis login` shows; `-` finds it in what login prints
    code: String,
    /// The identity provider
    #[arg(long, env = "PORTCULLIS_DEMO_PROVIDER", default_value = "http://127.0.0.1:8610")]
    provider: String,
}

/// Drives the form. With `-`, hands on what it reads, so that login's own words stay on the screen.
pub(super) async fn run(command: &SignIn) -> Result<ExitCode> {
    if command.code != "-" {
        fill_in(command, &command.code).await?;
        println!("signed in as {}", command.name);
        return Ok(ExitCode::SUCCESS);
    }
    let mut done = false;
    // Blocking is fine here: this process has nothing else to do.
    for line in std::io::stdin().lock().lines() {
        let line = line.context("standard input broke off")?;
        let mut out = std::io::stdout();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("standard output broke off")?;
        if let Some(code) = code_in(&line).filter(|_| !done) {
            fill_in(command, &code).await?;
            done = true;
        }
    }
    if !done {
        bail!("there was no code to read; pipe `portcullis login … 2>&1` into this command");
    }
    Ok(ExitCode::SUCCESS)
}

async fn fill_in(command: &SignIn, code: &str) -> Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let url = format!("{}/device", command.provider);
    let unreachable = || format!("{url} does not answer; is the demo running?");
    let form = client.get(&url).query(&[("user_code", code)]).send().await;
    let form = form.with_context(unreachable)?;
    if !form.status().is_success() {
        bail!("the identity provider knows no code {code}: it was used, or its time is over");
    }
    let html = form.text().await.with_context(unreachable)?;
    let code = hidden_field(&html, "user_code").context("the form has no code")?;
    let fields = [("user_code", code), ("person", command.name.as_str())];
    let answer = client.post(&url).form(&fields).send().await.with_context(unreachable)?;
    if !answer.status().is_success() {
        bail!("the identity provider knows nobody called `{}`: ana, ben, lea, sam", command.name);
    }
    Ok(())
}

/// The value of a hidden field of the form.
fn hidden_field<'h>(html: &'h str, name: &str) -> Option<&'h str> {
    let marker = format!("name=\"{name}\" value=\"");
    html.split_once(&marker)?.1.split('"').next()
}

/// The first thing in `line` that looks like a user code: `BCDF-GHJK`.
fn code_in(line: &str) -> Option<String> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let mut codes = words.filter(|word| {
        word.split_once('-').is_some_and(|(left, right)| {
            let half = |text: &str| text.len() == 4 && text.chars().all(|c| c.is_ascii_uppercase());
            half(left) && half(right)
        })
    });
    codes.next().map(str::to_owned)
}
