//! Seeing live connections, and asking one to close.

use std::{collections::HashMap, sync::Arc};

use portcullis_model::{ConnectionId, EventType, ServiceName};
use portcullis_policy::{ControlAction, Snapshot};
use portcullis_store::Change;

use crate::{
    ControlError, OpContext, core::Core, ports::ConnectionInfo, rights, settle::Settlement,
    views::ConnectionView,
};

const NOT_FOUND: ControlError = ControlError::NotFound("the connection");

pub(crate) fn list(core: &Core, op: &OpContext) -> Result<Vec<ConnectionView>, ControlError> {
    rights::caller(op)?;
    let snapshot = core.snapshot();
    // Decided once for each service, however many connections it has.
    let mut of_services: HashMap<ServiceName, (bool, bool)> = HashMap::new();
    let mut found = Vec::new();
    for info in core.connections.all() {
        let service = of_services.entry(info.service.clone());
        let (sees, closes) = *service.or_insert_with_key(|service| {
            let may = |action| rights::may_on_service(&snapshot, op, action, service);
            (may(ControlAction::ViewConnections), may(ControlAction::Revoke))
        });
        let is_own = own(op, &info);
        if is_own || sees {
            found.push(ConnectionView { may_close: is_own || closes, ..view(info) });
        }
    }
    Ok(found)
}

/// Asks a connection to close: one's own, or of a service where one may `revoke`. Who may only see
/// it may not end it.
pub(crate) async fn close(
    core: &Arc<Core>,
    op: &OpContext,
    id: ConnectionId,
) -> Result<(), ControlError> {
    let snapshot = core.snapshot();
    let info = core.connections.lookup(id).ok_or(NOT_FOUND)?;
    let may_end = may_close(&snapshot, op, &info);
    if !may_end && !sees(&snapshot, op, &info) {
        return Err(NOT_FOUND);
    }
    if !may_end {
        let service = &info.service;
        return Err(ControlError::Denied(format!(
            "no policy lets you close connections to `{service}`; that takes `revoke`"
        )));
    }
    let mut event = core.event(op, EventType::ConnectionClosed);
    event.service = Some(info.service);
    event.instance = Some(info.instance);
    event.operation = Some(info.operation);
    event.grant = info.grant;
    event.connection = Some(id);
    event.detail = Some(format!("the connection of {}", info.principal));
    let changes = vec![Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    if core.connections.close(id) { Ok(()) } else { Err(NOT_FOUND) }
}

fn own(op: &OpContext, info: &ConnectionInfo) -> bool {
    op.caller().is_some_and(|caller| caller.principal().id == info.principal)
}

fn may_close(snapshot: &Snapshot, op: &OpContext, info: &ConnectionInfo) -> bool {
    own(op, info) || rights::may_on_service(snapshot, op, ControlAction::Revoke, &info.service)
}

fn sees(snapshot: &Snapshot, op: &OpContext, info: &ConnectionInfo) -> bool {
    own(op, info)
        || rights::may_on_service(snapshot, op, ControlAction::ViewConnections, &info.service)
}

/// Nobody closes it by this.
pub(super) fn view(info: ConnectionInfo) -> ConnectionView {
    ConnectionView {
        id: info.id,
        principal: info.principal,
        service: info.service,
        instance: info.instance,
        operation: info.operation,
        grant: info.grant,
        reveals: info.reveals,
        protocol: info.protocol,
        source: info.source,
        since: info.since,
        may_close: false,
    }
}
