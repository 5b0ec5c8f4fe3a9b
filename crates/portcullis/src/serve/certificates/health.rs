//! What operators see of certificates.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// One door, or the tokens of one trust domain: names from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    of: String,
}

/// Metrics, and the trouble that was told last.
#[derive(Debug)]
pub(super) struct Health {
    replaced: Family<Labels, Counter>,
    expires: Family<Labels, Gauge>,
    trouble: Family<Labels, Gauge>,
    told: Mutex<BTreeMap<String, String>>,
}

impl Health {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let health = Self {
            replaced: Family::default(),
            expires: Family::default(),
            trouble: Family::default(),
            told: Mutex::default(),
        };
        let registry = registry.sub_registry_with_prefix("portcullis_certificates");
        let replaced = "Times that a certificate or whom it is presented to changed";
        registry.register("put_in_force", replaced, health.replaced.clone());
        let expires = "When the certificate ends, in seconds since 1970";
        registry.register("expire_at_seconds", expires, health.expires.clone());
        let trouble = "1 while the source is unusable and the last good state stays in force";
        registry.register("stale", trouble, health.trouble.clone());
        health
    }

    /// Something new is in force.
    pub(super) fn replaced(&self, of: &str, expires: Option<Timestamp>) {
        let labels = Labels { of: of.to_owned() };
        self.replaced.get_or_create(&labels).inc();
        self.expires.get_or_create(&labels).set(expires.map_or(0, Timestamp::as_second));
    }

    /// Says what is wrong, once; and once when it is over.
    pub(super) fn tell(&self, of: &str, trouble: Option<String>) {
        let labels = Labels { of: of.to_owned() };
        self.trouble.get_or_create(&labels).set(i64::from(trouble.is_some()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) if told.get(of) != Some(&trouble) => {
                tracing::error!(of, %trouble, "certificates.stale: the last good state stays in force");
                told.insert(of.to_owned(), trouble);
            }
            Some(_) => {}
            None => {
                if told.remove(of).is_some() {
                    tracing::info!(of, "certificates.fresh: they can be used again");
                }
            }
        }
    }
}
