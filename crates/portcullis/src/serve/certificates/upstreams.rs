//! What the gate presents to upstreams and believes of them, where a service says so.
//!
//! Read when the configuration is; again, like all certificates, when files change or the Workload API
//! tells. What is good takes the place of what was, and ends it: no request goes out on a connection
//! that was made with the old. What is not good changes nothing, until the certificate ends by itself.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_identity::spiffe::{self, ServerTrust, Wanted};
use portcullis_policy::{
    Bundle, LoadError,
    edge::{Authorities, OwnCertificate, UpstreamTls},
};
use portcullis_proxy::{ClientTls, ServerAuthorities, ports::UpstreamCertificates};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use tokio::sync::{Notify, watch};

use super::{
    Told, files,
    files::Own,
    health::Health,
    look::USABLE,
    workload_api::{Heard, X509},
};
use crate::config::{Config, Service, Tls};

/// See the module.
#[derive(Debug)]
pub(in crate::serve) struct Upstreams {
    base: PathBuf,
    /// The machine's own.
    roots: Arc<RootCertStore>,
    health: Arc<Health>,
    state: Mutex<State>,
    /// Somebody asked for something that was not there yet.
    asked: Notify,
    /// The Workload API has said something, or why it does not.
    heard: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<UpstreamTls, Known>,
    told: Heard<X509>,
    /// Something comes from the Workload API.
    asks_agent: bool,
}

/// What is in force for one kind of settings.
#[derive(Debug)]
struct Known {
    material: Material,
    tls: Arc<ClientTls>,
}

/// All that makes connections what they are.
#[derive(Debug, PartialEq)]
struct Material {
    authorities: Option<Vec<CertificateDer<'static>>>,
    own: Option<Own>,
}

impl Upstreams {
    pub(super) fn new(base: &Path, roots: Arc<RootCertStore>, health: Arc<Health>) -> Self {
        let (base, state) = (base.to_owned(), Mutex::default());
        let (asked, heard) = (Notify::new(), watch::Sender::new(false));
        Self { base, roots, health, state, asked, heard }
    }

    /// Reads what the services of `config` name: files must be good. What the Workload API tells may
    /// come later.
    pub(in crate::serve) fn prepare(&self, config: &Config) -> Result<(), Vec<LoadError>> {
        let mut errors = Vec::new();
        for (service, settings) in settings(config) {
            if self.is_known_or_waits(&settings) {
                continue;
            }
            if let Err(error) = self.renew(&settings) {
                errors.extend(mistake(service, &error));
            }
        }
        self.asked.notify_one();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Reads everything that is in use again.
    pub(super) fn refresh(&self, told: &Told) {
        let known: Vec<UpstreamTls> = {
            let mut state = self.state();
            state.told = told.x509.clone();
            state.known.keys().cloned().collect()
        };
        for settings in known {
            let done = self.renew(&settings).err().map(|error| format!("{error:#}"));
            self.health.tell(&name(&settings), done);
        }
        if told.x509.last.is_some() || told.x509.trouble.is_some() {
            self.heard.send_replace(true);
        }
    }

    /// Whether the Workload API is asked for anything.
    pub(super) fn ask_agent(&self) -> bool {
        self.state().asks_agent
    }

    /// Resolves when something new is in use.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The files of everything that is in use.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        let state = self.state();
        state.known.keys().flat_map(UpstreamTls::files).map(|file| self.base.join(file)).collect()
    }

    /// Ends what no service of `in_force` names. A bundle that comes back later has its settings read again.
    pub(in crate::serve) fn forget_others(&self, in_force: &Bundle) {
        let services = in_force.catalog().services();
        let wanted: HashSet<&UpstreamTls> =
            services.filter_map(|service| service.source().edge.upstream_tls.as_ref()).collect();
        let gone: Vec<(UpstreamTls, Known)> =
            self.state().known.extract_if(|known, _| !wanted.contains(known)).collect();
        for (settings, known) in gone {
            known.tls.end();
            self.health.tell(&name(&settings), None);
        }
    }

    fn is_known_or_waits(&self, settings: &UpstreamTls) -> bool {
        let mut state = self.state();
        state.asks_agent |= settings.asks_workload_api();
        let waits = settings.asks_workload_api() && state.told.last.is_none();
        waits || state.known.contains_key(settings)
    }

    fn renew(&self, settings: &UpstreamTls) -> Result<Arc<ClientTls>> {
        let told = self.state().told.clone();
        let material = Material::read(settings, &self.base, &told)?;
        if let Some(known) = self.state().known.get(settings)
            && known.material == material
        {
            return Ok(Arc::clone(&known.tls));
        }
        let tls = Arc::new(client(settings, &material, &self.roots)?);
        let expires = material.own.as_ref().and_then(|own| own.chain.first());
        self.health
            .replaced(&name(settings), expires.and_then(|leaf| spiffe::expires_at(leaf).ok()));
        let known = Known { material, tls: Arc::clone(&tls) };
        if let Some(before) = self.state().known.insert(settings.clone(), known) {
            before.tls.end();
            tracing::info!(of = name(settings), "certificates.replaced");
        }
        Ok(tls)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bundle that was activated in another way than by reading the configuration asks for something new.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Asked(pub(in crate::serve) Arc<Upstreams>);

#[async_trait]
impl UpstreamCertificates for Asked {
    async fn in_force(&self, settings: &UpstreamTls) -> Result<Arc<ClientTls>, String> {
        {
            let mut state = self.0.state();
            if let Some(known) = state.known.get(settings) {
                return Ok(Arc::clone(&known.tls));
            }
            state.asks_agent |= settings.asks_workload_api();
        }
        if settings.asks_workload_api() {
            // Its first word is on its way after a start, and so are those who waited for the gate meanwhile.
            self.0.asked.notify_one();
            let _ = self.0.heard.subscribe().wait_for(|heard| *heard).await;
        }
        let (upstreams, settings) = (Arc::clone(&self.0), settings.clone());
        // Files may be slow, and a core must not wait for them.
        let read = tokio::task::spawn_blocking(move || upstreams.renew(&settings)).await;
        self.0.asked.notify_one();
        match read {
            Ok(read) => read.map_err(|error| format!("{error:#}")),
            Err(_) => Err("reading it broke off".to_owned()),
        }
    }
}

impl Material {
    fn read(settings: &UpstreamTls, base: &Path, told: &Heard<X509>) -> Result<Self> {
        let authorities = match &settings.authorities {
            Authorities::System => None,
            Authorities::File(path) => Some(files::certificates(&base.join(path))?),
            Authorities::WorkloadApi => Some(of_agent(settings, told)?),
        };
        let own = match &settings.own {
            None => None,
            Some(OwnCertificate::Files { certificate, key }) => {
                Some(files::own(&Tls { certificate: certificate.into(), key: key.into() }, base)?)
            }
            Some(OwnCertificate::WorkloadApi) => {
                let last =
                    told.last.as_deref().context("the Workload API has told no certificate")?;
                Some(last.own.clone())
            }
        };
        Ok(Self { authorities, own })
    }
}

fn client(
    settings: &UpstreamTls,
    material: &Material,
    roots: &Arc<RootCertStore>,
) -> Result<ClientTls> {
    let authorities = match (&material.authorities, &settings.spiffe_id) {
        (None, None) => ServerAuthorities::Roots(Arc::clone(roots)),
        (None, Some(_)) => anyhow::bail!("a SPIFFE ID needs its trust domain's authorities"),
        (Some(own), None) => {
            let mut roots = RootCertStore::empty();
            for authority in own {
                roots.add(authority.clone()).context("an authority cannot be used")?;
            }
            ServerAuthorities::Roots(Arc::new(roots))
        }
        (Some(own), Some(id)) => {
            let trust = ServerTrust::new(id.parse()?, own.clone())?;
            ServerAuthorities::Spiffe(Arc::new(trust))
        }
    };
    let own = material.own.clone().map(|own| (own.chain, own.key));
    ClientTls::new(authorities, own).map_err(Into::into)
}

/// The authorities of the trust domain that is wanted.
fn of_agent(settings: &UpstreamTls, told: &Heard<X509>) -> Result<Vec<CertificateDer<'static>>> {
    let wanted = settings.spiffe_id.as_deref().context("bundles need a SPIFFE ID")?;
    let wanted: Wanted = wanted.parse()?;
    let last = told.last.as_deref();
    last.and_then(|x509| super::of_domain(x509, wanted.domain()))
        .with_context(|| told.nothing_for(wanted.domain()))
}

/// The services of `config` that say something.
fn settings(config: &Config) -> impl Iterator<Item = (&Service, UpstreamTls)> {
    let services = config.services.iter();
    services.filter_map(|service| Some((service, service.upstream.tls.as_ref()?.source())))
}

/// What is wrong with the files that `service` names, and where it names them.
fn mistake(service: &Service, error: &anyhow::Error) -> Option<LoadError> {
    let message = format!("`upstream.tls` of `{}`: {error:#}", service.name);
    Some(service.upstream.tls.as_ref()?.spot.mistake(message, Some(USABLE.into())))
}

/// What logs and metrics call it: who is wanted, and by whom it is certified.
fn name(settings: &UpstreamTls) -> String {
    let by = match &settings.authorities {
        Authorities::System => "system",
        Authorities::File(path) => path,
        Authorities::WorkloadApi => "the Workload API",
    };
    let wanted = settings.spiffe_id.as_deref().or(settings.server_name.as_deref());
    format!("upstreams {}, certified by {by}", wanted.unwrap_or("by host"))
}

/// What is wrong with the files that `config` names.
pub(super) fn check(config: &Config, base: &Path, now: Timestamp) -> Vec<LoadError> {
    let tried = settings(config).filter(|(_, settings)| !settings.asks_workload_api());
    let tried = tried.filter_map(|(service, settings)| {
        let read = || {
            let material = Material::read(&settings, base, &Heard::default())?;
            if let Some(own) = &material.own {
                super::look::in_time(own, now)?;
            }
            client(&settings, &material, &Arc::new(RootCertStore::empty())).map(drop)
        };
        mistake(service, &read().err()?)
    });
    tried.collect()
}

/// The machine's own roots; `SSL_CERT_FILE` names others.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates cannot be read");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(ignored, "some root certificates cannot be parsed");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_word_of_the_workload_api_is_waited_for() {
        let health = Health::register(&mut prometheus_client::registry::Registry::default());
        let roots = Arc::new(RootCertStore::empty());
        let upstreams = Arc::new(Upstreams::new(Path::new("."), roots, Arc::new(health)));
        let settings = UpstreamTls {
            authorities: Authorities::WorkloadApi,
            own: None,
            spiffe_id: Some("spiffe://prod.example.com/pay".to_owned()),
            server_name: None,
        };
        let asked = Asked(Arc::clone(&upstreams));
        let connecting = tokio::spawn(async move { asked.in_force(&settings).await.err() });
        upstreams.asked().await;
        let trouble = Some("the agent is gone".to_owned());
        let x509 = Heard { last: None, trouble };
        upstreams.refresh(&Told { x509, ..Told::default() });
        let error = connecting.await.unwrap().unwrap();
        assert!(error.contains("the agent is gone"), "{error}");
    }
}
