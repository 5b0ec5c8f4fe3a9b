//! A message in the name of another system comes in.
//!
//! Without the right signature it does nothing, and goes on record; so does one that is late. Strangers,
//! however many messages they send, keep nothing off the record that is signed. The sender
//! of a signed one is told that it was taken, whatever became of it: some systems stop sending to
//! whoever refuses a few.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use portcullis_identity::AuthError;
use portcullis_model::EventType;

use super::{
    Connector,
    apply::{self, Applied, Learned},
    keep::ALL,
    people,
    vendor::{Heard, Hook, Report, Unheard},
};
use crate::{ControlError, OpContext, core::Core, usecase::record};

/// Refused messages that are put on record in a minute; the next one says how many were not.
const LISTED: u32 = 10;

/// How many were refused lately: what strangers send counts apart.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    strangers: Counted,
    signed: Counted,
}

/// How many of one kind.
#[derive(Debug, Default)]
struct Counted {
    minute: i64,
    listed: u32,
    unlisted: u64,
}

impl Counted {
    /// Whether one more is put on record, and how many were not since the last.
    fn one_more(&mut self, now: Timestamp) -> Option<u64> {
        let minute = now.as_second().div_euclid(60);
        if self.minute != minute {
            (self.minute, self.listed) = (minute, 0);
        }
        if self.listed == LISTED {
            self.unlisted += 1;
            return None;
        }
        self.listed += 1;
        Some(std::mem::take(&mut self.unlisted))
    }
}

/// Hears what `door` says.
pub(crate) async fn hook(
    core: &Arc<Core>,
    door: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
    source: IpAddr,
) -> Result<(), ControlError> {
    let connector = core.connectors.named(door).filter(|one| one.spec.vendor.speaks());
    let connector = connector.ok_or(ControlError::NotFound("a system of this name"))?;
    let op = OpContext::connector(connector.spec.door, Some(source), core.now());
    match connector.spec.vendor.hear(&Hook { headers, body, now: op.now() }) {
        Ok(heard) => {
            core.contacts.heard(door, op.now());
            learn(core, connector, &op, heard).await
        }
        Err(unheard) => {
            let by = if unheard == Unheard::Forged { By::Stranger } else { By::Signer };
            refuse(core, connector, &op, by, &unheard.to_string()).await;
            match unheard {
                Unheard::Forged => {
                    Err(AuthError::Bad("the message's signature is not right").into())
                }
                Unheard::Late | Unheard::Senseless => Ok(()),
            }
        }
    }
}

async fn learn(
    core: &Arc<Core>,
    connector: &Connector,
    op: &OpContext,
    heard: Heard,
) -> Result<(), ControlError> {
    let (message, report) = match heard {
        Heard::Incident { message, report } => (message, report),
        Heard::Look(key) => {
            connector.look(key);
            return Ok(());
        }
        Heard::LookAtAll => {
            connector.look(ALL.to_owned());
            return Ok(());
        }
        Heard::Nothing => return Ok(()),
    };
    // Who is not known yet is asked for, but not while the sender waits.
    let whole = report.whole && people::all_known(core, connector, &report.responders);
    let report = Report { whole, ..report };
    let id = connector.id(&report.word);
    let id = id.as_ref().map_or("?", |id| id.as_str());
    match apply::apply(core, connector, op, &report, Learned::Told(&message)).await? {
        Applied::Known => {
            if report.open && !report.whole && !connector.services(&report.services).is_empty() {
                connector.look(report.key);
            }
        }
        Applied::Older => {
            let why = format!("it says less about incident `{id}` than what came before it");
            refuse(core, connector, op, By::Signer, &why).await;
        }
        Applied::Late => {
            let why = format!("it is of {}, too old to open incident `{id}`", report.at);
            refuse(core, connector, op, By::Signer, &why).await;
            connector.look(report.key);
        }
        Applied::NotTheirs => {
            let why = format!("incident `{id}` was opened by another door");
            refuse(core, connector, op, By::Signer, &why).await;
        }
    }
    Ok(())
}

/// Who sent a message.
#[derive(Debug, Clone, Copy)]
enum By {
    /// Anybody.
    Stranger,
    /// Whoever has the secret.
    Signer,
}

/// Puts on record that a message did nothing. Whether that works changes nothing for the sender.
async fn refuse(core: &Arc<Core>, connector: &Connector, op: &OpContext, by: By, why: &str) {
    core.contacts.refused(connector.spec.door, op.now(), why);
    let one_more = {
        let mut refused =
            connector.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counted = match by {
            By::Stranger => &mut refused.strangers,
            By::Signer => &mut refused.signed,
        };
        counted.one_more(op.now())
    };
    let Some(unlisted) = one_more else { return };
    let mut event = core.event(op, EventType::HookRefused);
    let more = if unlisted == 0 { String::new() } else { format!("; {unlisted} more before it") };
    event.detail = Some(format!("a message in the name of {}: {why}{more}", connector.spec.door));
    if record::note(core, event).await.is_err() {
        tracing::error!(system = connector.spec.door, why, "a refused message is not on record");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refused_messages_is_counted() {
        let mut refused = Counted::default();
        let now = Timestamp::UNIX_EPOCH;
        let listed = (0..100).filter(|_| refused.one_more(now).is_some()).count();
        assert_eq!(listed, 10);
        let later = now + jiff::SignedDuration::from_mins(1);
        assert_eq!(refused.one_more(later), Some(90));
        assert_eq!(refused.one_more(later), Some(0));
    }
}
