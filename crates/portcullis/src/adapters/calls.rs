//! Alert rules and webhooks, as configured, as control has them.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use portcullis_control::{
    alerts::{self, LooksFor, Memory},
    export::{Filter, Form, SinkSpec},
};
use portcullis_model::Clock;

use super::sinks::{Posted, client, signer};
use crate::config::{
    Config,
    alerts::{Alerts, By, LooksFor as Wanted, Memory as Habits},
    export::{DELIVERY, http_place},
};

/// Alerts in a second, at most.
const RATE: u32 = 10;

/// The webhooks of `config`, each a sink of alerts; secrets are resolved now.
pub(super) fn webhooks(
    config: &Config,
    base: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<SinkSpec>> {
    let all = config.alerts.iter().flat_map(|alerts| &alerts.webhooks);
    let webhooks = all.map(|webhook| {
        let place = || format!("the webhook `{}` under `alerts`", webhook.name);
        let sign =
            signer(&webhook.secret.resolve(base).with_context(place)?).with_context(place)?;
        let sink =
            Posted::messages(client(DELIVERY, None)?, webhook.url.clone(), sign, Arc::clone(clock));
        Ok(SinkSpec {
            name: webhook.name.clone(),
            place: http_place(&webhook.url),
            form: Form::Alert,
            only: Filter { types: ["alert_fired".to_owned()].into(), ..Filter::default() },
            from_the_beginning: false,
            rate: RATE,
            failing_after: webhook.failing_after,
            sink: Arc::new(sink),
            source: String::new(),
            sets_aside: None,
        })
    });
    webhooks.collect()
}

/// The rules.
pub(super) fn rules(alerts: &Alerts) -> Vec<alerts::Rule> {
    let rule = |rule: &crate::config::alerts::Rule| alerts::Rule {
        name: rule.name.clone(),
        looks_for: looks_for(&rule.looks_for),
        cool_down: rule.cool_down,
        to: rule.to.iter().cloned().collect(),
    };
    alerts.rules.iter().map(rule).collect()
}

fn looks_for(wanted: &Wanted) -> LooksFor {
    let memory = |habits: &Habits| Memory { remember: habits.remember, learn: habits.learn };
    match wanted {
        Wanted::Denials { count, within, by } => LooksFor::Denials {
            count: u32::try_from(*count).unwrap_or(u32::MAX),
            within: *within,
            by_service: *by == By::Service,
        },
        Wanted::Emergency {} => LooksFor::Emergency,
        Wanted::NewCountry(habits) => LooksFor::NewCountry(memory(habits)),
        Wanted::UnusualOperation(habits) => LooksFor::UnusualOperation(memory(habits)),
        Wanted::Record { every } => LooksFor::Record { every: *every },
        Wanted::Certificate { within } => LooksFor::Certificate { within: *within },
        Wanted::SinkFailing {} => LooksFor::SinkFailing,
    }
}

/// Everything about alerts; none without configuration.
pub(crate) fn alerts(
    config: &Config,
    around: impl FnOnce() -> Arc<dyn alerts::Surroundings>,
    base_url: String,
) -> alerts::Alerts {
    match &config.alerts {
        Some(wanted) => alerts::Alerts::new(rules(wanted), base_url, around()),
        None => alerts::Alerts::default(),
    }
}
