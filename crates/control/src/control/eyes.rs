//! What becomes of the record: sinks and alert rules.

use super::{Control, Result};
use crate::{
    OpContext,
    alerts::{Alerts, RuleView},
    export::{Exports, Form, SinkView},
    usecase::{connectors, eyes},
    views::ConnectorView,
};

impl Control {
    /// Where the record is passed on to, for metrics.
    pub fn sinks(&self) -> &Exports {
        &self.core.exports
    }

    /// How connected systems are doing, the messages as last counted: for metrics. Never waits.
    pub fn connectors_now(&self) -> Vec<ConnectorView> {
        connectors::views(&self.core)
    }

    /// Counts the messages that wait for connected systems, unless that was done a moment ago.
    pub async fn count_messages(&self) {
        connectors::count_soon(&self.core).await;
    }

    /// How connected systems are doing; takes `viewAudit` or `administer`.
    pub async fn connectors(&self, op: &OpContext) -> Result<Vec<ConnectorView>> {
        connectors::list(&self.core, op).await
    }

    /// Whether Slack can call back over a connection of ours; with why not.
    pub fn slack_listens(&self, why_not: Option<&str>) {
        connectors::slack_listens(&self.core, why_not);
    }

    /// The alert rules, for metrics.
    pub fn rules(&self) -> &Alerts {
        &self.core.alerts
    }

    /// How sinks and webhooks are doing; takes `viewAudit`.
    #[expect(
        clippy::unused_async,
        reason = "every use case is awaited, whether or not it waits today"
    )]
    pub async fn exports(&self, op: &OpContext) -> Result<Vec<SinkView>> {
        eyes::exports(&self.core, op)
    }

    /// The alert rules and what they last fired for; takes `viewAudit`.
    pub async fn alerts(&self, op: &OpContext) -> Result<Vec<RuleView>> {
        eyes::alerts(&self.core, op).await
    }

    /// Sends a test message to a sink or a webhook; takes `administer`.
    pub async fn test_sink(&self, op: &OpContext, form: Form, name: &str) -> Result<()> {
        eyes::test(&self.core, op, form, name).await
    }
}
