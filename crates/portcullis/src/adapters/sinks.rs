//! Where the record is passed on to: one file for each kind of sink.

mod http;
mod lines;
mod syslog;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use portcullis_control::{
    export::{Exports, Filter, Form, Sink, SinkSpec, standard_webhooks::Signer},
    ports::NotDelivered,
};
use portcullis_model::Clock;
use reqwest::{Certificate, Client, redirect::Policy};

use super::{calls, lifecycle};
use crate::config::{
    Config,
    export::{DELIVERY, Export, From, To},
};

pub(crate) use http::Posted;

/// All sinks and webhooks of `config`; secrets are resolved now.
pub(crate) fn exports(config: &Config, base: &Path, clock: &Arc<dyn Clock>) -> Result<Exports> {
    let sinks = config.export.iter().map(|export| {
        let sink = sink(export, base, clock);
        let sink = sink.with_context(|| format!("the sink `{}` under `export`", export.name))?;
        Ok(SinkSpec {
            name: export.name.clone(),
            place: export.place(),
            form: Form::Ocsf,
            only: Filter {
                types: export.only.types.clone(),
                services: export.only.services.clone(),
                decisions: export.only.decisions.clone(),
                incidents: None,
            },
            from_the_beginning: export.from == From::Beginning,
            rate: u32::try_from(export.rate).unwrap_or(u32::MAX),
            failing_after: export.failing_after,
            sink,
            source: String::new(),
            sets_aside: None,
        })
    });
    let mut all = sinks.collect::<Result<Vec<_>>>()?;
    all.extend(calls::webhooks(config, base, clock)?);
    all.extend(lifecycle::webhooks(config, base, clock)?);
    Ok(Exports::new(all))
}

fn sink(export: &Export, base: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Sink>> {
    Ok(match &export.to {
        To::Http(to) => {
            let sign = to.sign.as_ref().map(|secret| signer(&secret.resolve(base)?)).transpose()?;
            let bearer = to.bearer.as_ref().map(|secret| secret.resolve(base)).transpose()?;
            let client = client(DELIVERY, to.ca.as_ref().map(|ca| base.join(ca)).as_deref())?;
            Arc::new(Posted::lists(client, to.url.clone(), sign, bearer, Arc::clone(clock)))
        }
        To::Syslog(to) => Arc::new(syslog::Collector::new(to, base)?),
        To::File(to) => Arc::new(lines::Lines::new(to, base, Arc::clone(clock))),
    })
}

/// What signs with `secret`.
pub(crate) fn signer(secret: &portcullis_model::Secret) -> Result<Signer> {
    Ok(Signer::new(secret)?)
}

/// What posts: gives up after `timeout`, never follows a redirect, never asks a proxy, believes `ca` alone if it is given.
pub(crate) fn client(timeout: Duration, ca: Option<&Path>) -> Result<Client> {
    let client = Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .no_proxy()
        .user_agent("portcullis");
    let Some(ca) = ca else { return Ok(client.build()?) };
    let pem = std::fs::read(ca).with_context(|| format!("{} cannot be read", ca.display()))?;
    let known = Certificate::from_pem_bundle(&pem);
    let known = known.with_context(|| format!("{} holds no certificate", ca.display()))?;
    Ok(client.tls_certs_only(known).build()?)
}

fn not_delivered(why: impl std::fmt::Display) -> NotDelivered {
    NotDelivered::yet(why.to_string())
}
