//! What is said about the world: incidents, and who is on call.

use std::{collections::BTreeMap, net::IpAddr};

use portcullis_model::{Incident, IncidentId, Schedule, ScheduleName};

use super::{Control, Result};
use crate::{
    OpContext, connector,
    usecase::{incidents, schedules},
    views::{IncidentChange, NewIncident, OnCallInput},
};

#[expect(clippy::unused_async, reason = "every use case is awaited, whether or not it waits today")]
impl Control {
    /// Incidents that the caller may see, newest first.
    pub async fn incidents(&self, op: &OpContext) -> Result<Vec<Incident>> {
        incidents::list(&self.core, op).await
    }

    /// One incident.
    pub async fn incident(&self, op: &OpContext, id: &IncidentId) -> Result<Incident> {
        incidents::one(&self.core, op, id).await
    }

    /// Opens an incident; takes `manageIncident` on all its services, as does what follows.
    pub async fn open_incident(&self, op: &OpContext, new: NewIncident) -> Result<Incident> {
        incidents::open(&self.core, op, new).await
    }

    /// Says something about an incident, or the same again.
    pub async fn change_incident(
        &self,
        op: &OpContext,
        id: &IncidentId,
        change: IncidentChange,
    ) -> Result<Incident> {
        incidents::change(&self.core, op, id, change).await
    }

    /// Closes an incident; returns once no gate of this process uses a grant for it any more.
    pub async fn close_incident(&self, op: &OpContext, id: &IncidentId) -> Result<Incident> {
        incidents::close(&self.core, op, id).await
    }

    /// Opens a closed incident again; what it opened before stays shut.
    pub async fn reopen_incident(&self, op: &OpContext, id: &IncidentId) -> Result<Incident> {
        incidents::reopen(&self.core, op, id).await
    }

    /// Hears a message in the name of another system that knows of incidents, from its headers, by their
    /// names in lower case, and its body as it came.
    pub async fn hear(
        &self,
        system: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
        source: IpAddr,
    ) -> Result<()> {
        connector::hook(&self.core, system, headers, body, source).await
    }

    /// Who is on call, on all schedules.
    pub async fn schedules(&self, op: &OpContext) -> Result<Vec<Schedule>> {
        schedules::list(&self.core, op)
    }

    /// Says who is on call; takes `manageIncident` on the system.
    pub async fn put_schedule(
        &self,
        op: &OpContext,
        name: &ScheduleName,
        input: OnCallInput,
    ) -> Result<Schedule> {
        schedules::put(&self.core, op, name, input).await
    }
}
