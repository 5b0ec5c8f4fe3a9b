//! What a caller may do anywhere at all: which doors a console shows. Opens none of them.

use portcullis_policy::{ControlAction, ControlResource};

use crate::{OpContext, core::Core, rights, views::Powers};

pub(crate) fn of(core: &Core, op: &OpContext) -> Powers {
    let snapshot = core.snapshot();
    let on_system = |action| rights::may(&snapshot, op, action, ControlResource::System);
    let somewhere = |action| {
        let mut services = snapshot.bundle().catalog().services();
        services
            .any(|service| rights::may_on_service(&snapshot, op, action, &service.source().name))
    };
    Powers {
        reviews: rights::may_review_anything(core, op),
        revokes: somewhere(ControlAction::Revoke),
        manages_incidents: somewhere(ControlAction::ManageIncident),
        reads_record: on_system(ControlAction::ViewAudit),
        administers: on_system(ControlAction::Administer),
    }
}
