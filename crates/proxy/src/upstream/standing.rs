//! How the instances of a service are, for people who ask.

use portcullis_model::{InstanceName, ServiceName};

use super::Registry;

/// How one instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub instance: InstanceName,
    /// The zone that it is in, if that is known.
    pub zone: Option<String>,
    /// Whether it gets requests.
    pub health: Health,
}

/// Whether an instance gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Up,
    /// Health checks say that it is not well.
    Unwell,
    /// It is left out for a while, as requests to it failed.
    Ejected,
}

impl Registry {
    /// Of all instances of `service`, in the order of its list.
    pub(crate) fn standing(&self, service: &ServiceName) -> Vec<Standing> {
        let Some(service) = self.lookup(service) else { return Vec::new() };
        let (now, conditions) = (service.now(), service.conditions());
        let of = |(at, instance): (usize, &std::sync::Arc<super::service::Instance>)| Standing {
            instance: instance.name.clone(),
            zone: service.settings.zones.get(&instance.name).cloned(),
            health: match (conditions.is_up(at, now), conditions.is_ejected(at, now)) {
                (true, _) => Health::Up,
                (false, true) => Health::Ejected,
                (false, false) => Health::Unwell,
            },
        };
        service.instances.iter().enumerate().map(of).collect()
    }
}
