//! How sinks and alert rules are doing, and whether what is sent arrives.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{AlertNote, Event, EventType, Urgency};
use portcullis_policy::{ControlAction, ControlResource};

use super::record;
use crate::{
    ControlError, OpContext,
    alerts::{FiringView, RuleView},
    core::Core,
    export::{Form, Outgoing, SinkSpec, SinkView, lifecycle, ocsf},
    rights,
};

/// Firings that are shown of one rule.
const SHOWN: usize = 10;

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) fn exports(core: &Core, op: &OpContext) -> Result<Vec<SinkView>> {
    may_look(core, op)?;
    Ok(core.exports.views())
}

pub(crate) async fn alerts(core: &Core, op: &OpContext) -> Result<Vec<RuleView>> {
    may_look(core, op)?;
    let firings = core.store.firings().await?;
    let counts = core.alerts.counts();
    let view = |(rule, (_, fired)): (&crate::alerts::Rule, (String, u64))| RuleView {
        name: rule.name.clone(),
        kind: rule.looks_for.kind(),
        to: rule.to.clone(),
        fired,
        firings: firings
            .iter()
            .filter(|one| one.rule == rule.name)
            .take(SHOWN)
            .map(|one| FiringView {
                about: one.about.clone(),
                at: one.fired_at,
                suppressed: one.suppressed,
            })
            .collect(),
    };
    Ok(core.alerts.rules().iter().zip(counts).map(view).collect())
}

/// Sends something that is no event to a sink or a webhook, now and once.
pub(crate) async fn test(core: &Arc<Core>, op: &OpContext, form: Form, name: &str) -> Result<()> {
    let caller = rights::caller(op)?.id.to_string();
    if !rights::may(&core.snapshot(), op, ControlAction::Administer, ControlResource::System) {
        return Err(ControlError::Denied("sending a test takes `administer`".into()));
    }
    let found = core.exports.named(form, name);
    let export = found.ok_or(ControlError::NotFound("a sink of this name"))?;
    if let Some(rest) = export.standing.rest() {
        return Err(ControlError::resting(&format!("`{name}`"), rest));
    }
    let spec = Arc::clone(&export.spec);
    let mut event = core.event(op, EventType::ExportTested);
    event.detail = Some(format!("{} at {}", spec.reader(), spec.place));
    let message = message(&event, &spec, op.now(), &caller);
    record::note(core, event).await?;
    let delivered = spec.sink.deliver(&[message]).await;
    delivered.map_err(|error| {
        ControlError::Unavailable(format!(
            "the test did not arrive at {}: {}",
            spec.place, error.why
        ))
    })
}

/// It has an id of its own, and no place in the record.
fn message(event: &Event, spec: &SinkSpec, now: Timestamp, caller: &str) -> Outgoing {
    let id = format!("test-{}", event.id);
    let json = match spec.form {
        // What writes notes looks at what they are about, and finds nothing here.
        Form::Note => serde_json::Value::Null,
        Form::Ocsf => {
            let leaf = serde_json::to_value(event).unwrap_or_default();
            let mut json = ocsf::event(&leaf, 0);
            if let Some(metadata) = json.get_mut("metadata").and_then(|it| it.as_object_mut()) {
                metadata.insert("uid".to_owned(), id.clone().into());
                metadata.remove("sequence");
            }
            json
        }
        form @ (Form::Standard | Form::CloudEvents) => {
            let data = serde_json::json!({"principal": caller});
            lifecycle::message(form, (&id, "test", now, None), &data, &spec.source)
        }
        Form::Alert => serde_json::json!({
            "type": "alert.test",
            "timestamp": now,
            "data": AlertNote {
                rule: "test".into(),
                kind: "test".into(),
                about: "test".into(),
                urgency: Urgency::Warning,
                title: "This is a test".into(),
                text: format!("{caller} asked for this message to see whether alerts arrive. Nothing is wrong."),
                link: String::new(),
                suppressed: 0,
                to: Vec::new(),
            },
        }),
    };
    Outgoing {
        position: 0,
        id,
        kind: "export_tested".into(),
        time: now,
        principal: Some(caller.to_owned()),
        notable: false,
        json: json.to_string(),
    }
}

fn may_look(core: &Core, op: &OpContext) -> Result<()> {
    rights::caller(op)?;
    if rights::may_view_audit(&core.snapshot(), op) {
        return Ok(());
    }
    Err(ControlError::Denied("looking at what becomes of the record takes `viewAudit`".into()))
}
