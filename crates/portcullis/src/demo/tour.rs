//! The guided tour: commands to paste, each with what it must show.

use std::path::Path;

use anyhow::{Context, Result};
use portcullis_model::Window;
use serde::Deserialize;

use super::Addresses;

const TOUR: &str = include_str!("../../../../demo/tour.yaml");

/// One command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// What it shows, for people.
    pub(super) say: Option<String>,
    /// The command, to be pasted as it is.
    pub(super) run: String,
    /// What must stand in its output.
    #[serde(default)]
    pub(super) shows: Vec<String>,
    /// What must not.
    #[serde(default)]
    pub(super) not: Vec<String>,
    /// Its exit code.
    #[serde(default)]
    pub(super) exit: i32,
    /// The longest that it may take.
    pub(super) within: Option<Window>,
}

/// The tour of a demo that listens on `addresses` and lives in `home`.
pub(super) fn steps(addresses: Addresses, home: &Path) -> Result<Vec<Step>> {
    let binary = std::env::current_exe().context("this program has no path")?;
    let folder = binary.parent().unwrap_or(Path::new("/")).display().to_string();
    let mut steps: Vec<Step> = serde_saphyr::from_str(TOUR).context("the tour is broken")?;
    for step in &mut steps {
        let run = addresses.put_into(&step.run);
        step.run = run.replace("{bin}", &folder).replace("{home}", &home.display().to_string());
    }
    Ok(steps)
}

/// Prints the tour for people.
pub(super) fn print(steps: &[Step]) {
    println!("\nA guided tour, to be pasted line by line:");
    for step in steps {
        if let Some(say) = &step.say {
            println!("\n# {say}");
        }
        println!("{}", step.run);
        if !step.shows.is_empty() {
            println!("#   shows: {}", step.shows.join(" · "));
        }
    }
    println!("\nCtrl-C ends the demo.");
}
