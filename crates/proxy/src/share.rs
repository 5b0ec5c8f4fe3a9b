//! Who has how much of a core under way, so that no service and no principal has all of it.
//!
//! Counted from the decision, or from what is read to decide, to the end of the answer. A WebSocket, which is idle most of its time, counts for
//! its principal only. What waits for an approval has seats of its own.

use std::{cell::Cell, cell::RefCell, collections::HashMap, rc::Rc};

use portcullis_model::{Refusal, ServiceName, refusal::Unavailable};

use crate::{core::Core, exchange::Exchange};

/// How many there are of something.
pub(crate) type Count = Rc<Cell<u32>>;

/// What is under way on one core.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    all: Count,
    services: RefCell<HashMap<ServiceName, Count, foldhash::fast::RandomState>>,
}

/// One of what a count counts, until it is dropped.
#[derive(Debug)]
pub(crate) struct One(Count);

/// One request that is under way.
#[derive(Debug)]
pub(crate) struct Share {
    _all: One,
    _service: One,
    principal: One,
}

impl One {
    fn of(count: &Count) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Share {
    /// What goes on as a tunnel.
    pub(crate) fn into_tunnel(self) -> One {
        self.principal
    }
}

impl Shares {
    fn of_service(&self, service: &ServiceName) -> Count {
        let mut services = self.services.borrow_mut();
        if let Some(count) = services.get(service) {
            return Rc::clone(count);
        }
        Rc::clone(services.entry(service.clone()).or_default())
    }
}

/// Refuses what comes to a core that has as much to do as it can take or does not keep up, before anything is
/// looked at.
pub(crate) fn check_room(exchange: &Exchange) -> Result<(), Refusal> {
    let core = &exchange.core;
    if core.lateness.is_too_much() { Err(OVERLOADED) } else { has_room(core) }
}

fn has_room(core: &Core) -> Result<(), Refusal> {
    if core.shares.all.get() < core.config.bounds.requests { Ok(()) } else { Err(OVERLOADED) }
}

const OVERLOADED: Refusal = Refusal::Unavailable(Unavailable::Overloaded);

/// Takes a share for a request that is permitted, or whose body is read to decide that, or refuses it for now.
/// It has one at most.
pub(crate) fn take(exchange: &mut Exchange) -> Result<(), Refusal> {
    if exchange.share.is_some() {
        return Ok(());
    }
    let core = &exchange.core;
    has_room(core)?;
    let (Some(service), Some(identity)) = (&exchange.service, &exchange.identity) else {
        return Err(Refusal::Unavailable(Unavailable::Internal));
    };
    let (bounds, shares) = (&core.config.bounds, &core.shares);
    let of_service = shares.of_service(service);
    if of_service.get() >= bounds.of_service(service) {
        return Err(OVERLOADED);
    }
    // Strangers are many, whoever they are.
    if identity.open.get() >= bounds.requests_per_principal && !identity.is_stranger() {
        return Err(Refusal::Limited { retry_after: 1 });
    }
    let (all, service) = (One::of(&shares.all), One::of(&of_service));
    let principal = One::of(&identity.open);
    exchange.share = Some(Share { _all: all, _service: service, principal });
    Ok(())
}
