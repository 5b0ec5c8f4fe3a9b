//! The command that a run is for: started in a group of its own, told what we are told, and not outlived by
//! what it was given.

use std::{
    io::IsTerminal,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
    time::{Instant, sleep_until},
};

use crate::cli::{
    failure::{Failure, WRAPPER},
    screen::Screen,
};

/// What tells a job to end.
#[derive(Debug)]
pub(super) struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// From now on they are ours to answer.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            let failed = |error| Failure::local("signals cannot be waited for", &error);
            unix::signal(kind).map_err(failed)
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }
}

/// As shells say that a signal ended a command.
pub(super) fn code_of_signal(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(WRAPPER))
}

/// The command's own code; 128 and the signal's number where it had none.
pub(super) fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(WRAPPER))
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Its group, where it has one of its own: a terminal tells its whole group by itself.
    group: Option<Pid>,
    /// So long it may take to end once it was told to.
    grace: Duration,
}

impl Running {
    /// Starts `command`. It is ended when this is dropped.
    pub(super) fn start(mut command: Command, grace: Duration) -> Result<Self, Failure> {
        let alone = !std::io::stdin().is_terminal();
        if alone {
            command.process_group(0);
        }
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command.kill_on_drop(true).spawn();
        let child =
            child.map_err(|error| Failure::local(&format!("`{program}` cannot be run"), &error))?;
        let group = pid(&child).filter(|_| alone);
        Ok(Self { child, group, grace })
    }

    /// Waits until it ends. What we are told it is told; then it has its grace, and no more.
    pub(super) async fn wait(
        &mut self,
        signals: &mut Signals,
        screen: &Screen,
    ) -> Result<ExitStatus, Failure> {
        let mut end = None;
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    // What it left behind has nothing to do any more.
                    if end.is_some() && self.group.is_some() {
                        self.tell(Signal::KILL);
                    }
                    return ended(status);
                }
                signal = signals.next() => {
                    if self.group.is_some() || signal != Signal::INT {
                        self.tell(signal);
                    }
                    if end.is_none() {
                        screen.note(&format!(
                            "cancelled; the command has {} s to end", self.grace.as_secs()
                        ));
                    }
                    end.get_or_insert(Instant::now() + self.grace);
                }
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                    self.tell(Signal::KILL);
                    return ended(self.child.wait().await);
                }
            }
        }
    }

    /// Ends it: what it could do, it can do no more.
    pub(super) async fn end(&mut self) {
        self.tell(Signal::TERM);
        if tokio::time::timeout(self.grace, self.child.wait()).await.is_err() {
            self.tell(Signal::KILL);
            let _ = self.child.wait().await;
        }
    }

    /// It may be gone already, which is what was wanted.
    fn tell(&self, signal: Signal) {
        let _ = match (self.group, pid(&self.child)) {
            (Some(group), _) => kill_process_group(group, signal),
            (None, Some(child)) => kill_process(child, signal),
            (None, None) => Ok(()),
        };
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn ended(status: std::io::Result<ExitStatus>) -> Result<ExitStatus, Failure> {
    status.map_err(|error| Failure::local("the command cannot be waited for", &error))
}
