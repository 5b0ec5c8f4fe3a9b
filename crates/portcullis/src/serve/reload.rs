//! Reloading: the whole bundle, or nothing and all its errors.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use portcullis_control::Control;
use portcullis_model::BundleDigest;
use portcullis_policy::LoadError;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{
    certificates::Upstreams,
    geo::{Geo, Opened},
    policy_tests,
    watch_files::{Cause, Sources, Watch},
};
use crate::{
    check::{self, Checked},
    config::{self, Config, Loaded},
};

/// Starts to watch what `loaded` was read from, and reloads when it changes; its bundle has the digest beside it.
/// Needs a runtime.
pub(super) fn start(
    path: PathBuf,
    (loaded, first): (&Loaded, BundleDigest),
    control: Arc<Control>,
    beside: (Arc<Upstreams>, Arc<Geo>),
) -> Result<JoinHandle<()>> {
    let mut watch = Watch::start(&sources(&path, loaded))?;
    let running = fixed(&loaded.config);
    let tests = loaded.policy_tests.clone();
    Ok(tokio::spawn(async move {
        policy_tests::run(&control, &first, tests).await;
        loop {
            let cause = watch.next().await;
            let (from, given) = (path.clone(), beside.clone());
            let checked = tokio::task::spawn_blocking(move || prepared(&from, &given)).await;
            match &checked {
                Ok(Ok((checked, _))) => watch.follow(&sources(&path, &checked.loaded)),
                // What is mended there is to be seen too.
                Ok(Err(errors)) => watch.follow(&places(&path, errors)),
                Err(_) => {}
            }
            match checked {
                Ok(Ok((checked, mut opened))) => {
                    warn_of_fixed(&running, &checked.loaded.config);
                    check::log_warnings(&checked);
                    // Without one, what the bundle asks would have no answer until it follows.
                    if let Some(first) = opened.take_if(|_| !beside.1.is_there()) {
                        beside.1.commit(first);
                    }
                    let tests = checked.loaded.policy_tests.clone();
                    let digest = checked.bundle.digest().clone();
                    let in_force = activate(&control, checked, cause).await;
                    policy_tests::run(&control, &digest, tests).await;
                    if let Some(opened) = opened.filter(|_| in_force) {
                        beside.1.commit(opened);
                    }
                }
                Ok(Err(errors)) => refuse(&control, &errors, cause).await,
                Err(error) => tracing::error!(%error, "loading the configuration broke off"),
            }
            // Whatever became of the reload: a bundle that is not in force needs nothing any more.
            beside.0.forget_others(control.snapshots().current().bundle());
        }
    }))
}

/// A bundle whose services name certificates that cannot be used is not put in force.
fn prepared(
    path: &Path,
    (upstreams, geo): &(Arc<Upstreams>, Arc<Geo>),
) -> Result<(Checked, Option<Opened>), Vec<LoadError>> {
    let checked = check::checked(path)?;
    let opened = geo.open(&checked.loaded.config, &checked.loaded.base);
    let opened = opened.map_err(|mistake| vec![*mistake])?;
    upstreams.prepare(&checked.loaded.config)?;
    Ok((checked, opened))
}

/// Whether the bundle is in force.
async fn activate(control: &Control, checked: Checked, cause: Cause) -> bool {
    let Checked { loaded, bundle } = checked;
    let digest = bundle.digest().clone();
    match control.activate(bundle, loaded.bundle, cause.as_str()).await {
        Ok(stamp) => {
            let (bundle, generation) = (&stamp.digest, stamp.generation);
            tracing::info!(%bundle, generation, "bundle in force");
            true
        }
        Err(error) => {
            tracing::error!(bundle = %digest, %error, "bundle not activated");
            false
        }
    }
}

async fn refuse(control: &Control, errors: &[LoadError], cause: Cause) {
    for error in errors {
        tracing::error!(
            place = %place(error),
            snippet = error.snippet,
            help = error.help,
            "bundle refused: {}",
            error.message
        );
    }
    tracing::error!(errors = errors.len(), "the bundle in force stays");
    if let Err(error) = control.refuse_bundle(errors, cause.as_str()).await {
        tracing::error!(%error, "the refusal of the bundle is not on record");
    }
}

fn place(error: &LoadError) -> String {
    match error.line {
        Some(line) => format!("{}:{line}", error.file),
        None => error.file.clone(),
    }
}

/// What a reload does not change: sections of the configuration.
const FIXED: [&str; 16] = [
    "access_requests",
    "alerts",
    "audit",
    "connectors",
    "control",
    "demo",
    "export",
    "holding",
    "identity",
    "limits",
    "listeners",
    "sealed",
    "shutdown",
    "store",
    "telemetry",
    "zone",
];

/// These sections, to compare.
fn fixed(config: &Config) -> [(&'static str, Option<Value>); FIXED.len()] {
    let all = serde_json::to_value(config).unwrap_or_default();
    FIXED.map(|section| (section, all.get(section).cloned()))
}

/// Says at every reload what still runs as it was, until it is started anew or changed back.
fn warn_of_fixed(running: &[(&'static str, Option<Value>)], config: &Config) {
    for ((section, before), (_, after)) in running.iter().zip(&fixed(config)) {
        if before != after {
            tracing::warn!(
                section,
                "`{section}` has changed and is not reloaded: restart to put it in force"
            );
        }
    }
}

fn sources(path: &Path, loaded: &Loaded) -> Sources {
    let base = &loaded.base;
    let named = loaded.files.iter().map(|file| config::base_of(&base.join(file)));
    let folders = std::iter::once(config::base_of(path)).chain(named).collect();
    Sources { policies: [base.join(&loaded.config.policies)].into(), folders }
}

/// The folders of the files that have mistakes.
fn places(path: &Path, errors: &[LoadError]) -> Sources {
    let base = config::base_of(path);
    let files = errors.iter().map(|error| base.join(&error.file)).filter(|file| file.is_file());
    let folders = files.map(|file| config::base_of(&file)).collect();
    Sources { policies: BTreeSet::new(), folders }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_reloaded_or_said_to_be_fixed() {
        let schema = schemars::schema_for!(Config);
        let sections = schema.get("properties").and_then(Value::as_object).expect("properties");
        let sections: BTreeSet<&str> = sections.keys().map(String::as_str).collect();
        let reloaded = ["clocks", "geo", "include", "policies", "schedules", "services"];
        let known: BTreeSet<&str> = FIXED.into_iter().chain(reloaded).collect();
        assert_eq!(sections, known);
    }
}
