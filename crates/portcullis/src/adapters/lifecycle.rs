//! Webhooks under `connectors.webhooks`: what they are told of by themselves, and what policies tell them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, Result};
use portcullis_control::export::{Filter, Form, SinkSpec};
use portcullis_model::Clock;

use super::sinks::{Posted, client, signer};
use crate::config::{
    Config,
    connectors::Hook,
    export::{DELIVERY, http_place},
};

/// Messages in a second, at most: one that was down for an hour is not flooded.
const RATE: u32 = 10;

/// What posts to each of them, by name; secrets are resolved now.
pub(super) fn posts(
    config: &Config,
    base: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<String, (Form, Posted)>> {
    let hooks = config.connectors.webhooks.iter();
    let post = |(name, hook): (&String, &Hook)| {
        Ok((name.clone(), (hook.form(), posted(name, hook, base, clock)?)))
    };
    hooks.map(post).collect()
}

/// Those that are told of anything by themselves, each behind a cursor of its own.
pub(super) fn webhooks(
    config: &Config,
    base: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<SinkSpec>> {
    let told = config.connectors.webhooks.iter().filter(|(_, hook)| !hook.events.is_empty());
    let spec = |(name, hook): (&String, &Hook)| {
        Ok(SinkSpec {
            name: name.clone(),
            place: http_place(&hook.url),
            form: hook.form(),
            only: Filter { types: hook.events.clone(), ..Filter::default() },
            from_the_beginning: false,
            rate: RATE,
            failing_after: hook.failing_after,
            sink: Arc::new(posted(name, hook, base, clock)?),
            source: source(config),
            sets_aside: Some(hook.give_up_after),
        })
    };
    told.map(spec).collect()
}

/// What messages say that they come from.
fn source(config: &Config) -> String {
    config.control.url.as_str().trim_end_matches('/').to_owned()
}

fn posted(name: &str, hook: &Hook, base: &Path, clock: &Arc<dyn Clock>) -> Result<Posted> {
    let place = || format!("the webhook `{name}` under `connectors`");
    let sign = signer(&hook.secret.resolve(base).with_context(place)?).with_context(place)?;
    let posted =
        Posted::messages(client(DELIVERY, None)?, hook.url.clone(), sign, Arc::clone(clock));
    Ok(match hook.form() {
        Form::CloudEvents => posted.of_type("application/cloudevents+json; charset=UTF-8"),
        Form::Standard | Form::Alert | Form::Ocsf | Form::Note => posted,
    })
}
