//! The README shows what the demo prints: every command in it is a line of the demo's tour, and so is
//! run by the demo's own check.

use std::{fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// What follows `run:` in the tour, without YAML's quotes.
fn tour() -> Vec<String> {
    let text = read("demo/tour.yaml");
    let runs =
        text.lines().filter_map(|line| line.trim_start_matches("- ").trim().strip_prefix("run: "));
    runs.map(|run| {
        let quoted = run.strip_prefix('\'').and_then(|run| run.strip_suffix('\''));
        quoted.map_or_else(|| run.to_owned(), |run| run.replace("''", "'"))
    })
    .collect()
}

/// Commands in the README's console blocks.
fn commands(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).collect()
}

#[test]
fn every_command_of_the_readme_is_a_line_of_the_tour() {
    let (readme, tour) = (read("README.md"), tour());
    let commands = commands(&readme);
    assert!(commands.len() >= 10, "the tour is gone from the README: {commands:?}");
    for command in commands {
        assert!(tour.iter().any(|line| line == command), "not in demo/tour.yaml: {command}");
    }
}
