//! `portcullis demo --check`: runs the printed lines, verbatim, and compares what they do.
//!
//! All lines go through one bash, as they would in a terminal, so that variables and functions carry
//! over. Stops at the first difference. Whatever the lines started ends with their process group.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::tour::Step;

/// No command of the tour takes longer.
const LONGEST: Duration = Duration::from_secs(30);
/// Ends the output of each command; the exit code follows.
const MARK: &str = "--portcullis-demo-step-done--";

/// Runs `steps`, or says which one went otherwise.
pub(super) async fn run(steps: &[Step]) -> Result<()> {
    let mut shell = Shell::start()?;
    let outcome = run_all(&mut shell, steps).await;
    shell.stop().await;
    outcome
}

async fn run_all(shell: &mut Shell, steps: &[Step]) -> Result<()> {
    let count = steps.len();
    for (number, step) in steps.iter().enumerate() {
        println!("[{}/{count}] {}", number + 1, step.run);
        let started = Instant::now();
        let ran = tokio::time::timeout(LONGEST, shell.step(&step.run)).await;
        let (code, output) = ran.with_context(|| format!("it takes longer than {LONGEST:?}"))??;
        let took = started.elapsed();
        if let Some(difference) = difference(step, code, &output, took) {
            bail!("the tour went otherwise: {difference}\nline: {}\noutput:\n{output}", step.run);
        }
    }
    println!("the tour works: {count} lines");
    Ok(())
}

fn difference(step: &Step, code: i32, output: &str, took: Duration) -> Option<String> {
    if code != step.exit {
        return Some(format!("exit code {code}, and {} was expected", step.exit));
    }
    if let Some(missing) = step.shows.iter().find(|text| !output.contains(text.as_str())) {
        return Some(format!("`{missing}` is not shown"));
    }
    if let Some(unwanted) = step.not.iter().find(|text| output.contains(text.as_str())) {
        return Some(format!("`{unwanted}` is shown"));
    }
    let limit = step.within?.get();
    (took > limit).then(|| format!("it took {took:?}, and at most {limit:?} is right"))
}

/// One bash.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    fn start() -> Result<Self> {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("bash cannot be started; install it")?;
        let input = child.stdin.take().context("bash has no input")?;
        let output = child.stdout.take().context("bash has no output")?;
        Ok(Self { child, input, output: BufReader::new(output).lines() })
    }

    /// Runs one line; returns its exit code and all that it wrote.
    async fn step(&mut self, line: &str) -> Result<(i32, String)> {
        // Commands must not eat the lines that follow theirs.
        let text = format!("{{ {line}\n}} < /dev/null 2>&1\nprintf '\\n%s %s\\n' '{MARK}' $?\n");
        self.input.write_all(text.as_bytes()).await.context("bash is gone")?;
        let mut output = String::new();
        while let Some(line) = self.output.next_line().await? {
            if let Some(code) = line.strip_prefix(MARK) {
                return Ok((code.trim().parse()?, output));
            }
            output.push_str(&line);
            output.push('\n');
        }
        bail!("bash ended; output so far:\n{output}")
    }

    async fn stop(mut self) {
        if let Some(id) = self.child.id() {
            let group = format!("-{id}");
            let killed = Command::new("kill").args(["-TERM", "--", &group]).status().await;
            if let Err(error) = killed {
                tracing::warn!(%error, "what the tour started could not be ended");
            }
        }
        let _gone = self.child.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(run: &str) -> Step {
        let (shows, not) = (Vec::new(), Vec::new());
        Step { say: None, run: run.into(), shows, not, exit: 0, within: None }
    }

    #[tokio::test]
    async fn lines_share_one_shell_and_differences_stop_the_tour() {
        let shown = Step { shows: vec!["kept".into()], ..step("echo $A") };
        run(&[step("A=kept"), shown.clone()]).await.expect("works");
        run(&[Step { exit: 3, ..step("(exit 3)") }]).await.expect("works");
        let error = run(&[shown]).await.expect_err("nothing is kept across shells");
        assert!(error.to_string().contains("`kept` is not shown"), "{error}");
        let error = run(&[step("false")]).await.expect_err("a difference");
        assert!(error.to_string().contains("exit code 1"), "{error}");
        let late = Step { within: "1s".parse().ok(), ..step("sleep 1.2") };
        let error = run(&[late]).await.expect_err("too late");
        assert!(error.to_string().contains("at most 1s"), "{error}");
        let error = run(&[Step { not: vec!["a".into()], ..step("echo a") }]).await;
        assert!(error.expect_err("shown").to_string().contains("`a` is shown"));
    }

    #[tokio::test]
    async fn what_the_tour_started_ends_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alive");
        let line = format!("(while :; do date > {}; sleep 0.05; done) &", file.display());
        run(&[step(&line), step("sleep 0.2")]).await.expect("works");
        std::fs::remove_file(&file).expect("it was alive");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!file.exists());
    }
}
