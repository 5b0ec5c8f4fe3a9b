//! How one core spreads the requests of one service: of two instances that chance picks, the one to
//! which this core has less under way.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use portcullis_model::{InstanceName, refusal::UpstreamTrouble};

use super::{Endpoint, Turn, conditions::Choice, load::What, service::Service};

/// One service's instances on one core.
#[derive(Debug)]
pub(crate) struct Balancer {
    service: Arc<Service>,
    core: usize,
    /// In the order of the service's instances.
    endpoints: Rc<[Rc<Endpoint>]>,
    choice: RefCell<Choice>,
    /// The change of the service that the choice is as of.
    seen: Cell<u64>,
    /// Requests that were refused for want of a connection, when that was looked at last.
    refused: Cell<u64>,
    /// What the core says it is as of.
    pub(super) epoch: Cell<u64>,
}

impl Balancer {
    /// Takes over the connections of `old` to instances that are still there.
    pub(super) fn new(service: Arc<Service>, core: usize, old: Option<&Self>) -> Self {
        let endpoints = (0..service.instances.len())
            .filter_map(|at| Endpoint::new(&service, at, core).map(Rc::new))
            .collect::<Rc<[_]>>();
        endpoints.iter().for_each(|endpoint| endpoint.is_among(&endpoints));
        if let Some(old) = old.filter(|old| old.service.is_reached_like(&service)) {
            for endpoint in &*endpoints {
                if let Some(before) = old.endpoints.iter().find(|it| it.is_same(endpoint)) {
                    endpoint.take_over(before);
                }
            }
        }
        let (seen, choice) = service.choice(service.now());
        let (seen, epoch) = (Cell::new(seen), Cell::new(0));
        let refused = Cell::new(service.counts.refused(What::Connections));
        Self { service, core, endpoints, choice: RefCell::new(choice), seen, refused, epoch }
    }

    pub(super) fn is_of(&self, service: &Arc<Service>) -> bool {
        Arc::ptr_eq(&self.service, service)
    }

    /// The instance that the client names, whatever is known of it.
    pub(super) fn addressed(
        &self,
        name: &InstanceName,
        now: Instant,
    ) -> Result<Turn, UpstreamTrouble> {
        self.check_room()?;
        let named = self.endpoints.iter().find(|endpoint| endpoint.name() == name);
        let endpoint = named.ok_or(UpstreamTrouble::Unreachable)?;
        if !endpoint.has_room(What::Requests) {
            return self.full();
        }
        Ok(Turn::new(endpoint).wary(self.choice(now).wary))
    }

    /// The instance that is best now.
    pub(super) fn pick(
        &self,
        now: Instant,
        random: impl FnMut() -> u64,
    ) -> Result<Turn, UpstreamTrouble> {
        self.check_room()?;
        let choice = self.choice(now);
        let picked = match choice.picks.as_slice() {
            [] => return Err(UpstreamTrouble::Unreachable),
            [(only, _)] => *only,
            _ => self.better_of_two(&choice, random),
        };
        let endpoint = self.endpoints.get(picked).ok_or(UpstreamTrouble::Unreachable)?;
        if endpoint.has_room(What::Requests) {
            return Ok(Turn::new(endpoint).wary(choice.wary));
        }
        self.least(&choice, &[]).map_or_else(|| self.full(), Ok)
    }

    /// Another one than those that were `tried`.
    pub(super) fn pick_other(&self, tried: &[InstanceName]) -> Option<Turn> {
        if !self.service.counts.load.has_room(self.core, What::Requests, self.limit()) {
            return None;
        }
        let choice = self.service.choice(self.service.now()).1;
        self.least(&choice, tried)
    }

    /// Of those that may be picked, the one with the least under way that has room and was not tried.
    fn least(&self, choice: &Choice, tried: &[InstanceName]) -> Option<Turn> {
        let endpoints = choice.picks.iter().filter_map(|(at, _)| self.endpoints.get(*at));
        let open = endpoints.filter(|it| !tried.contains(it.name()) && it.has_room(What::Requests));
        let least = open.min_by_key(|it| it.under_way())?;
        Some(Turn::new(least).wary(choice.wary))
    }

    fn better_of_two(&self, choice: &Choice, random: impl FnMut() -> u64) -> usize {
        let (first, second) = two(&choice.picks, random);
        let under_way = |at: usize| self.endpoints.get(at).map_or(u32::MAX, |it| it.under_way());
        if under_way(second) < under_way(first) { second } else { first }
    }

    fn choice(&self, now: Instant) -> std::cell::Ref<'_, Choice> {
        let choice = self.choice.borrow();
        let told = self.service.at(now);
        if self.seen.get() == self.service.changes() && told < choice.until {
            return choice;
        }
        drop(choice);
        let (seen, choice) = self.service.choice(told);
        self.seen.set(seen);
        self.choice.replace(choice);
        self.choice.borrow()
    }

    fn limit(&self) -> u32 {
        self.service.settings.service_limits.requests
    }

    fn check_room(&self) -> Result<(), UpstreamTrouble> {
        if self.service.counts.load.has_room(self.core, What::Requests, self.limit()) {
            return Ok(());
        }
        self.full()
    }

    fn full<T>(&self) -> Result<T, UpstreamTrouble> {
        self.service.counts.refuse(What::Requests);
        Err(UpstreamTrouble::Overloaded)
    }

    pub(super) fn forget_idle(&self, now: Instant) {
        let refused = self.service.counts.refused(What::Connections);
        let wanted = self.refused.replace(refused) != refused;
        for endpoint in &*self.endpoints {
            endpoint.forget_idle(now, wanted);
        }
    }

    /// Whether connections of it are open or kept.
    pub(super) fn is_used(&self) -> bool {
        self.endpoints.iter().any(|it| it.is_used())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // What another balancer took over is no longer here.
        for endpoint in &*self.endpoints {
            endpoint.retire();
        }
    }
}

/// Two of several picks, by their shares; the same twice if chance has it that there is no second.
fn two(picks: &[(usize, u8)], mut random: impl FnMut() -> u64) -> (usize, usize) {
    /// Who has a tenth of a share is refused nine times of ten.
    const TRIES: usize = 24;
    let place = |at: usize| picks.get(at).map_or(0, |(place, _)| *place);
    // The upper half of a number picks, the lower one decides whether the pick stands.
    let upper = |chance: u64, of: usize| usize::try_from(chance >> 32).unwrap_or(0) % of.max(1);
    let stands = |at: usize, chance: u64| {
        let lower = chance & u64::from(u32::MAX);
        picks.get(at).is_some_and(|(_, share)| lower % 100 < u64::from(*share))
    };
    let mut first = 0;
    for _ in 0..TRIES {
        let chance = random();
        first = upper(chance, picks.len());
        if stands(first, chance) {
            break;
        }
    }
    let chance = random();
    let other = upper(chance, picks.len() - 1);
    let second = if other >= first { other + 1 } else { other };
    (place(first), if stands(second, chance) { place(second) } else { place(first) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chance() -> impl FnMut() -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state ^ (state >> 29)
        }
    }

    #[test]
    fn two_are_different_and_all_come_up() {
        let picks = [(3, 100), (5, 100), (8, 100)];
        let (mut random, mut seen) = (chance(), std::collections::BTreeMap::new());
        for _ in 0..6000 {
            let (first, second) = two(&picks, &mut random);
            assert_ne!(first, second);
            *seen.entry(first).or_insert(0) += 1;
        }
        assert!(seen.values().all(|count| (1600..2400).contains(count)), "{seen:?}");
    }

    #[test]
    fn who_is_coming_back_comes_up_by_its_share() {
        let picks = [(0, 100), (1, 10)];
        let mut random = chance();
        let drawn: Vec<_> = (0..10_000).map(|_| two(&picks, &mut random)).collect();
        let first = drawn.iter().filter(|(first, _)| *first == 1).count();
        let second = drawn.iter().filter(|two| **two == (0, 1)).count();
        assert!((600..1300).contains(&first) && (600..1300).contains(&second), "{first} {second}");
    }
}
