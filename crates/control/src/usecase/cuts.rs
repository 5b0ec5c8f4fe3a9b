//! Waiting until what a grant opened is gone.
//!
//! Says of each connection what became of it, and of none that it is gone before the gate has said so.
//! First every core has to have looked at its connections since the grant ended: what it opened and
//! nobody had seen yet is registered by then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portcullis_model::{Grant, GrantId, GrantState};
use tokio::time::{Instant, timeout_at};

use super::{connections, grants};
use crate::{
    ControlError, OpContext,
    connections::{Followed, Over},
    core::Core,
    views::ConnectionView,
};

/// The longest that anybody waits: answers come within a minute.
const LONGEST: Duration = Duration::from_secs(50);

/// A grant that is over, and what became of the connections that it had opened.
#[derive(Debug, Clone)]
pub struct Cuts {
    /// It.
    pub grant: Grant,
    /// What lived when it ended, or was found at its end.
    pub connections: Vec<Cut>,
    /// Cores of the gate that have not said in time that they looked: what they carry is not known.
    pub silent: Vec<usize>,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Cut {
    /// As it was.
    pub connection: ConnectionView,
    /// How it ended; `None` if it has not.
    pub over: Option<Over>,
}

impl Cuts {
    /// Whether nothing that the grant opened lives.
    pub fn all_gone(&self) -> bool {
        self.silent.is_empty() && self.connections.iter().all(|cut| cut.over.is_some())
    }
}

/// Ends a grant, unless it is over already, and waits for what it opened.
pub(crate) async fn revoke(
    core: &Arc<Core>,
    op: &OpContext,
    id: GrantId,
    wait: Duration,
) -> Result<Cuts, ControlError> {
    if wait.is_zero() || wait > LONGEST {
        let message = format!("it is 1s to {}s", LONGEST.as_secs());
        return Err(ControlError::Invalid { field: "wait", message });
    }
    // INVARIANT: looked at before the end, or those that are quick would be missing from the answer.
    let mut opened: BTreeMap<_, _> = core.connections.of_grant(id).into_iter().collect();
    let grant = match grants::revoke(core, op, id).await {
        // Whoever may end it may ask what became of it, also for the second time.
        Err(ControlError::Conflict(over)) => {
            let grant = grants::one(core, op, id).await?;
            if grant.state == GrantState::InForce {
                return Err(ControlError::Conflict(over));
            }
            grant
        }
        ended => ended?,
    };
    let deadline = Instant::now() + wait;
    let version = core.snapshot().version();
    let silent = core.connections.silent(version, deadline).await;
    loop {
        for (connection, followed) in core.connections.of_grant(id) {
            opened.entry(connection).or_insert(followed);
        }
        let Some((_, end)) = opened.values_mut().find(|(_, end)| end.borrow().is_none()) else {
            break;
        };
        if !matches!(timeout_at(deadline, end.wait_for(Option::is_some)).await, Ok(Ok(_))) {
            break;
        }
    }
    let cut = |(info, over): Followed| {
        let over = *over.borrow();
        Cut { connection: connections::view(info), over }
    };
    Ok(Cuts { grant, connections: opened.into_values().map(cut).collect(), silent })
}
