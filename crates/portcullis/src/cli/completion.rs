//! `portcullis completion`.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, mut whole: clap::Command) {
        let mut script = Vec::new();
        let name = whole.get_name().to_owned();
        clap_complete::generate(self.shell, &mut whole, name, &mut script);
        // A reader that went away is no failure.
        let _ = std::io::stdout().lock().write_all(&script);
    }
}
