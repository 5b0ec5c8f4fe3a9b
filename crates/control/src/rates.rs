//! How often somebody may do something, where it is counted exactly: in one place for all gates.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use portcullis_model::{OperationName, PrincipalId};
use portcullis_policy::rate_limit::{RateLimit, Recent};

/// Beyond so many, what is over is forgotten.
const SWEEP_ABOVE: usize = 8192;

/// What was admitted lately, by principal and action. In memory: after a restart counting begins anew.
#[derive(Debug, Default)]
pub(crate) struct ExactRates(Mutex<HashMap<(PrincipalId, OperationName), Recent>>);

impl ExactRates {
    /// Admits one more; or says in how many seconds it is worth trying again.
    pub(crate) fn admit(
        &self,
        who: &PrincipalId,
        what: &OperationName,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<(), u32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > SWEEP_ABOVE {
            all.retain(|_, recent| !recent.is_over(now));
        }
        all.entry((who.clone(), what.clone())).or_default().admit(limit, now)
    }
}
