//! Other systems that know of incidents, over HTTP: how each is called and proves who asks. What is said
//! is control's.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_control::connector::{
    ConnectorSpec, Connectors, NotesTo, PeopleMap,
    grafana::Grafana,
    grafana_incidents::GrafanaIncidents,
    incident_io::IncidentIo,
    jira::{Jira, JiraSite},
    pagerduty::PagerDuty,
    vendor::Vendor,
    wire::{Call, Line, Reply, Trouble, Wire},
};
use portcullis_model::{Clock, Secret, Window};
use reqwest::{
    Client,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use super::{notices, sinks::client};
use crate::config::{
    Config,
    connectors::{self as config, Api, Common},
    export::{DELIVERY, http_place},
    secret::SecretRef,
};

/// The longest answer that is read.
const LONGEST: usize = 16 * 1024 * 1024;
/// It is on record when no note could be written for so long.
const NOTES_FAILING: u32 = 5;

/// What all systems are reached and told by.
#[derive(Clone, Copy)]
struct Here<'a> {
    base: &'a Path,
    base_url: &'a str,
    clock: &'a Arc<dyn Clock>,
}

/// The systems of `config`; secrets are resolved now.
pub(crate) fn connectors(
    config: &Config,
    base: &Path,
    base_url: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Connectors> {
    let all = &config.connectors;
    let here = Here { base, base_url, clock };
    let specs = [
        all.pagerduty.as_ref().map(|it| pagerduty(it, here)),
        all.incident_io.as_ref().map(|it| incident_io(it, here)),
        all.jira_service_management.as_ref().map(|it| jira(it, here)),
        all.grafana_irm.as_ref().map(|it| grafana(it, here)),
        all.grafana_incidents.as_ref().map(|it| grafana_incidents(it, here)),
    ];
    let specs: Vec<_> = specs.into_iter().flatten().collect::<Result<_>>()?;
    Ok(Connectors::new(specs))
}

fn pagerduty(it: &config::PagerDuty, here: Here<'_>) -> Result<ConnectorSpec> {
    let Here { base, base_url, .. } = here;
    let place = "`connectors.pagerduty`";
    let secrets = secrets(&it.webhook, base).context(place)?;
    let token = it.api.token.resolve(base).context(place)?;
    let wire = HttpWire::new(&it.api, here)?
        .authorized(&format!("Token token={}", token.expose()))
        .context(place)?
        .with("accept", "application/vnd.pagerduty+json;version=2")?
        .with("content-type", "application/json")?;
    let vendor = PagerDuty::new(&secrets, it.notes_from.clone());
    let notes = it.notes_from.as_ref().map(|_| base_url);
    Ok(spec("pagerduty", &it.common, Arc::new(vendor), wire, notes))
}

fn incident_io(it: &config::IncidentIo, here: Here<'_>) -> Result<ConnectorSpec> {
    let Here { base, base_url, .. } = here;
    let place = "`connectors.incident_io`";
    let secrets = secrets(&it.webhook, base).context(place)?;
    let token = it.api.token.resolve(base).context(place)?;
    let wire = HttpWire::new(&it.api, here)?
        .authorized(&format!("Bearer {}", token.expose()))
        .context(place)?;
    let (affected, notes) = (it.service_field.clone(), it.notes_field.clone());
    let to = notes.as_ref().map(|_| base_url);
    let vendor = IncidentIo::new(&secrets, affected, notes).context(place)?;
    Ok(spec("incident_io", &it.common, Arc::new(vendor), wire, to))
}

fn jira(it: &config::Jira, here: Here<'_>) -> Result<ConnectorSpec> {
    let Here { base, base_url, .. } = here;
    let place = "`connectors.jira_service_management`";
    let secrets = secrets(&it.webhook, base).context(place)?;
    let token = it.api.token.resolve(base).context(place)?;
    let both = STANDARD.encode(format!("{}:{}", it.user, token.expose()));
    let wire = HttpWire::new(&it.api, here)?
        .authorized(&format!("Basic {both}"))
        .context(place)?
        .with("accept", "application/json")?;
    let site = JiraSite {
        cloud: it.cloud.clone(),
        project: it.project.clone(),
        issue_type: it.issue_type.clone(),
        service_field: it.service_field.clone(),
        responders_field: it.responders_field.clone(),
    };
    let notes = it.notes.then_some(base_url);
    let vendor = Jira::new(&secrets, site);
    Ok(spec("jira_service_management", &it.common, Arc::new(vendor), wire, notes))
}

fn grafana(it: &config::Grafana, here: Here<'_>) -> Result<ConnectorSpec> {
    let Here { base, base_url, .. } = here;
    let place = "`connectors.grafana_irm`";
    let secrets = secrets(&it.webhook, base).context(place)?;
    let token = it.api.token.resolve(base).context(place)?;
    let mut wire = HttpWire::new(&it.api, here)?.authorized(token.expose()).context(place)?;
    if let Some(stack) = &it.stack {
        wire = wire.with("x-grafana-url", stack.as_str().trim_end_matches('/'))?;
    }
    let vendor = Grafana::new(&secrets);
    let notes = it.notes.then_some(base_url);
    Ok(spec("grafana_irm", &it.common, Arc::new(vendor), wire, notes))
}

fn grafana_incidents(it: &config::GrafanaIncidents, here: Here<'_>) -> Result<ConnectorSpec> {
    let Here { base, base_url, .. } = here;
    let place = "`connectors.grafana_incidents`";
    let secrets = secrets(&it.webhook, base).context(place)?;
    let token = it.api.token.resolve(base).context(place)?;
    let wire = HttpWire::new(&it.api, here)?
        .authorized(&format!("Bearer {}", token.expose()))
        .context(place)?
        .with("accept", "application/json; charset=utf-8")?
        .with("content-type", "application/json; charset=utf-8")?;
    let notes = it.notes.then_some(base_url);
    let vendor = GrafanaIncidents::new(&secrets);
    Ok(spec("grafana_incidents", &it.common, Arc::new(vendor), wire, notes))
}

fn secrets(all: &[SecretRef], base: &Path) -> Result<Vec<Secret>> {
    all.iter().map(|one| one.resolve(base)).collect()
}

fn spec(
    door: &'static str,
    common: &Common,
    vendor: Arc<dyn Vendor>,
    wire: HttpWire,
    notes: Option<&str>,
) -> ConnectorSpec {
    ConnectorSpec {
        door,
        prefix: common.prefix.clone(),
        services: common.theirs(),
        severities: common.severities.clone(),
        schedules: common.schedules.clone(),
        people: PeopleMap { by_email: common.people.by_email.clone(), named: common.named() },
        every: common.poll,
        fresh_for: common.fresh_for,
        notes: notes.map(|base_url| NotesTo {
            base_url: base_url.to_owned(),
            failing_after: Window::minutes(NOTES_FAILING),
        }),
        vendor,
        line: Line::new(Arc::new(wire)),
    }
}

/// Calls one API.
#[derive(Debug)]
struct HttpWire {
    client: Client,
    url: Url,
    headers: HeaderMap,
    clock: Arc<dyn Clock>,
}

impl HttpWire {
    fn new(api: &Api, here: Here<'_>) -> Result<Self> {
        let ca = api.ca.as_ref().map(|ca| here.base.join(ca));
        let client = client(DELIVERY, ca.as_deref())?;
        let (url, clock) = (api.url.clone(), Arc::clone(here.clock));
        Ok(Self { client, url, headers: HeaderMap::new(), clock })
    }

    /// Who asks, in every call.
    fn authorized(mut self, value: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| anyhow::anyhow!("the token has characters that no header may have"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// This as well.
    fn with(mut self, name: &'static str, value: &str) -> Result<Self> {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(self)
    }
}

#[async_trait]
impl Wire for HttpWire {
    async fn call(&self, call: Call) -> Result<Reply, Trouble> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // An id that is a dot or two would lead elsewhere.
            let dots = call.path.iter().any(|segment| matches!(segment.as_str(), "." | ".."));
            let ids = call.path.split_last().map(|(_, before)| before).unwrap_or_default();
            if dots || ids.iter().any(String::is_empty) {
                return Err(Trouble::Silent("it named something that is no id".to_owned()));
            }
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = match call.body {
            Some(body) => self.client.post(url).header(CONTENT_TYPE, "application/json").body(body),
            None => self.client.get(url),
        };
        request = request.headers(self.headers.clone());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let silent = |error: reqwest::Error| Trouble::Silent(notices::cause(&error.without_url()));
        let mut answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let wait = notices::rest(status, answer.headers(), self.clock.now());
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok());
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(silent)? {
            if body.len() + part.len() > LONGEST {
                return Err(Trouble::Silent(format!("its answer has more than {LONGEST} bytes")));
            }
            body.extend_from_slice(&part);
        }
        Ok(Reply { status: status.as_u16(), wait, body })
    }

    fn place(&self) -> String {
        http_place(&self.url)
    }
}
