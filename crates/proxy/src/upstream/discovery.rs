//! Where instances come from, if they are not listed in the configuration.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use portcullis_model::InstanceName;

use super::{Registry, service::Service};

/// One instance that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Derived from where it is, so that it is the same each time.
    pub(crate) name: InstanceName,
    /// Scheme, host and port: what TLS verifies.
    pub(crate) url: String,
    /// What is dialled, and nothing else.
    pub(crate) address: SocketAddr,
    /// How much of what the strongest carries it is said to carry, in percent.
    pub(crate) weight: u8,
}

/// A source of instances.
#[async_trait(?Send)]
pub(crate) trait Discovery {
    /// All instances that there are now, sorted, and how long that may be believed. An error leaves
    /// everything as it is.
    async fn find(&self) -> Result<(Vec<Found>, Duration), String>;

    /// How soon it may be asked again.
    fn shortest(&self) -> Duration;
}

/// So long after a failure it is tried again, at most.
const AGAIN: Duration = Duration::from_secs(10);
/// More instances than that are not taken: it is not a list but an attack or a mistake.
const MOST: usize = 256;

/// Looks for the instances of `service` for as long as it is run. What was found last stays when
/// nothing is found.
pub(super) async fn follow(
    discovery: Box<dyn Discovery>,
    service: Arc<Service>,
    registry: Arc<Registry>,
) {
    let mut failing = false;
    loop {
        let found = discovery.find().await.and_then(|(found, valid)| {
            if found.is_empty() { Err("there are none".to_owned()) } else { Ok((found, valid)) }
        });
        let pause = match found {
            Ok((mut found, valid)) => {
                if found.len() > MOST {
                    tracing::warn!(service = %service.name, found = found.len(), most = MOST, "too many instances");
                    found.truncate(MOST);
                }
                registry.found(&service, found);
                failing = false;
                valid
            }
            Err(error) => {
                service.counts.unknown.fetch_add(1, Relaxed);
                registry.not_found(&service);
                if !failing {
                    tracing::warn!(service = %service.name, error, "no instances found; those found last stay");
                }
                failing = true;
                AGAIN.min(discovery.shortest())
            }
        };
        tokio::time::sleep(pause).await;
    }
}
