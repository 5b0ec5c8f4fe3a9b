//! What the API is built from.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use portcullis_control::Control;
use portcullis_model::{Clock, Entropy, ServiceName, Traces};

use crate::{making::Making, services::InstanceBody};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// `OpenMetrics` 1.0, with exemplars.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

/// Renders all metrics.
pub type RenderMetrics = Box<dyn Fn(MetricsFormat) -> String + Send + Sync>;

/// What `/readyz` tells.
#[derive(Debug, Default)]
pub struct Ready {
    /// What keeps the process from serving; empty when it is ready.
    pub reasons: Vec<String>,
    /// What does not, and is to be looked after all the same.
    pub notes: Vec<String>,
}

/// Says whether the process serves.
pub type Readiness = Box<dyn Fn() -> BoxFuture<'static, Ready> + Send + Sync>;

/// Says how the instances of a service are, in the order of its list.
pub type Standing = Box<dyn Fn(&ServiceName) -> Vec<InstanceBody> + Send + Sync>;

/// Everything the API needs from the process around it.
pub struct ApiParts {
    /// The use cases.
    pub control: Arc<Control>,
    /// For `/metrics`.
    pub metrics: RenderMetrics,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For services.
    pub standing: Standing,
    /// Where spans of sampled calls go, if any are.
    pub traces: Option<Arc<dyn Traces>>,
    /// The keys that sign assertions, as a JSON Web Key Set (RFC 7517).
    pub assertion_keys: serde_json::Value,
    /// The keys that checkpoints of the log verify with, the newest last, each with the sizes that it may sign,
    /// as `log.pub` has them: C2SP signed-note verifier keys.
    pub log_keys: Vec<String>,
    /// What people and upstreams call this server, without a slash at the end.
    pub base_url: String,
    /// How many files may be made in memory at one time.
    pub making: Making,
    /// For request ids.
    pub clock: Arc<dyn Clock>,
    /// For request ids.
    pub entropy: Arc<dyn Entropy>,
}

pub(crate) type Shared = Arc<ApiParts>;

impl fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiParts").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}
