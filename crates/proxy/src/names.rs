//! Names, as one core counts references to them.
//!
//! The names in a snapshot are shared by all cores, and whoever clones one writes to memory that all of them write. A
//! core takes a name over when it first meets it, and clones its own from then on. Only names of the catalogue come
//! here: what a caller makes up is not in it.

use std::{cell::RefCell, collections::HashMap, hash::Hash};

use portcullis_model::{OperationName, ServiceName};

/// A name in memory of its own.
type Detach<N> = fn(&N) -> N;

/// The names that a core has met.
#[derive(Debug)]
pub(crate) struct Names {
    services: Own<ServiceName>,
    operations: Own<OperationName>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            services: Own::new(ServiceName::detached),
            operations: Own::new(OperationName::detached),
        }
    }
}

impl Names {
    /// This service by the core's own name.
    pub(crate) fn service(&self, name: &ServiceName) -> ServiceName {
        self.services.of(name)
    }

    /// This operation by the core's own name.
    pub(crate) fn operation(&self, name: &OperationName) -> OperationName {
        self.operations.of(name)
    }
}

#[derive(Debug)]
struct Own<N> {
    known: RefCell<HashMap<N, N, foldhash::fast::RandomState>>,
    detach: Detach<N>,
}

impl<N: Clone + Eq + Hash> Own<N> {
    /// Of bundles that are gone, names stay; with more than these, it begins anew.
    const MOST: usize = 16_384;

    fn new(detach: Detach<N>) -> Self {
        Self { known: RefCell::default(), detach }
    }

    fn of(&self, name: &N) -> N {
        if let Some(own) = self.known.borrow().get(name) {
            return own.clone();
        }
        let own = (self.detach)(name);
        let mut known = self.known.borrow_mut();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(own.clone(), own.clone());
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_clones_its_own_names() {
        let (names, of_snapshot) = (Names::default(), "shop".parse::<ServiceName>().unwrap());
        let (first, second) = (names.service(&of_snapshot), names.service(&of_snapshot));
        assert_eq!(first, of_snapshot);
        assert_ne!(first.as_str().as_ptr(), of_snapshot.as_str().as_ptr());
        assert_eq!(first.as_str().as_ptr(), second.as_str().as_ptr());
    }

    #[test]
    fn names_of_bundles_that_are_gone_do_not_pile_up() {
        let names = Names::default();
        for number in 0..=Own::<ServiceName>::MOST {
            names.service(&format!("s{number}").parse().unwrap());
        }
        assert_eq!(names.services.known.borrow().len(), 1);
    }
}
