//! What the doors of this process present and whom they believe, kept up to date while it runs.
//!
//! Files are read again when they change, on SIGHUP, and now and then; the Workload API tells by
//! itself. What is good takes the place of what was, for the next handshake: connections stay open.
//! What is not good changes nothing, and is told: in the log, in the metrics, by `check`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use portcullis_identity::{
    Workloads,
    spiffe::{self, ClientTrust, Mesh, TrustDomain},
};
use portcullis_policy::LoadError;
use portcullis_proxy::LiveTls;
use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use self::{
    files::Own,
    health::Health,
    workload_api::{Authorities, Heard, KeySets, X509},
};
use crate::{
    config::{ClientCa, Config, FromWorkloadApi, ListenerTls, Loaded, Spot, Tls},
    diagnostics,
};

mod files;
mod health;
mod look;
mod upstreams;
mod workload_api;

pub(crate) use look::{USABLE, check};
pub(in crate::serve) use upstreams::{Asked, Upstreams};

/// The control API's own door, beside the listeners.
const CONTROL: &str = "control";

/// See the module.
#[derive(Debug)]
pub(super) struct Certificates {
    doors: Vec<Door>,
    tokens: Vec<Tokens>,
    workloads: Arc<Workloads>,
    base: PathBuf,
    socket: Option<PathBuf>,
    health: Arc<Health>,
    upstreams: Arc<Upstreams>,
    roots: Arc<RootCertStore>,
}

/// One place with TLS.
#[derive(Debug)]
struct Door {
    name: String,
    /// Where the configuration says so.
    spot: Option<Spot>,
    own: Source<Tls>,
    trust: Vec<(Arc<Mesh>, Source<PathBuf>)>,
    live: Arc<LiveTls>,
    presented: Mutex<Option<Presented>>,
}

/// The tokens of one trust domain.
#[derive(Debug)]
struct Tokens {
    domain: TrustDomain,
    keys: Source<PathBuf>,
}

/// Where something comes from.
#[derive(Debug, Clone)]
enum Source<F> {
    Files(F),
    WorkloadApi,
}

/// What a door has in force.
#[derive(Debug, PartialEq)]
struct Presented {
    own: Own,
    believed: Vec<(Arc<Mesh>, Vec<CertificateDer<'static>>)>,
}

/// What the Workload API said last.
#[derive(Debug, Clone, Default)]
struct Told {
    x509: Heard<X509>,
    keys: Heard<KeySets>,
}

impl Certificates {
    /// Reads all files of `loaded`: one that cannot be used is an error here. What the Workload API
    /// gives comes later.
    pub(super) fn open(
        loaded: &Loaded,
        workloads: Arc<Workloads>,
        registry: &mut Registry,
    ) -> Result<Self> {
        let health = Arc::new(Health::register(registry));
        let roots = Arc::new(upstreams::system_roots());
        let upstreams = Upstreams::new(&loaded.base, Arc::clone(&roots), Arc::clone(&health));
        let certificates = Self {
            doors: doors(&loaded.config),
            tokens: tokens(&loaded.config),
            workloads,
            base: loaded.base.clone(),
            socket: loaded.config.identity.workload_api.clone(),
            health,
            upstreams: Arc::new(upstreams),
            roots,
        };
        certificates.read_all()?;
        let prepared = certificates.upstreams.prepare(&loaded.config);
        prepared.map_err(|errors| diagnostics::error(&errors, &loaded.base))?;
        Ok(certificates)
    }

    /// Of the listener called `name`, if it has TLS.
    pub(super) fn listener(&self, name: &str) -> Option<Arc<LiveTls>> {
        let name = listener(name);
        self.doors.iter().find(|door| door.name == name).map(|door| Arc::clone(&door.live))
    }

    /// Of the control API, if it has TLS.
    pub(super) fn control(&self) -> Option<Arc<LiveTls>> {
        self.doors.iter().find(|door| door.name == CONTROL).map(|door| Arc::clone(&door.live))
    }

    /// What connections to upstreams present and believe.
    pub(super) fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }

    /// Whom the machine believes.
    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// What keeps doors shut: those that have no certificate yet.
    pub(super) fn missing(&self) -> Vec<String> {
        let without = self.doors.iter().filter(|door| door.live.config().is_none());
        without.map(|door| format!("{} has no certificate yet", door.name)).collect()
    }

    /// The first reading: whatever files say must be good.
    fn read_all(&self) -> Result<()> {
        let nothing = Told::default();
        let mut errors = Vec::new();
        for door in &self.doors {
            let read = door.read(&self.base, &nothing).and_then(|fresh| match (&door.own, fresh) {
                (Source::Files(_), Some(fresh)) => self.put_in_force(door, fresh),
                (Source::Files(_) | Source::WorkloadApi, _) => Ok(()),
            });
            errors.extend(read.err().map(|error| door.mistake(&error)));
        }
        if !errors.is_empty() {
            return Err(diagnostics::error(&errors, &self.base));
        }
        for tokens in &self.tokens {
            if let Source::Files(path) = &tokens.keys {
                let json = files::key_set(&self.base.join(path), &tokens.domain)?;
                self.workloads.replace_svid_keys(&tokens.domain, &json);
            }
        }
        Ok(())
    }

    /// Reads everything again and puts in force what is new and good.
    fn refresh(&self, told: &Told) {
        self.upstreams.refresh(told);
        for door in &self.doors {
            let fresh = door.read(&self.base, told);
            let done = fresh.and_then(|fresh| match fresh {
                Some(fresh) => self.put_in_force(door, fresh),
                None => Ok(()),
            });
            let trouble = done.err().map(|error| format!("{error:#}"));
            self.health.tell(&door.name, trouble.or_else(|| door.trouble(told)));
        }
        for tokens in &self.tokens {
            let done = self.refresh_keys(tokens, told);
            let trouble = done.err().map(|error| format!("{error:#}"));
            self.health.tell(&format!("tokens of {}", tokens.domain), trouble);
        }
    }

    fn refresh_keys(&self, tokens: &Tokens, told: &Told) -> Result<()> {
        let domain = &tokens.domain;
        let json = match &tokens.keys {
            Source::Files(path) => files::key_set(&self.base.join(path), domain)?,
            Source::WorkloadApi => {
                let known = told.keys.last.as_ref().and_then(|sets| sets.get(domain).cloned());
                known.with_context(|| told.keys.nothing_for(domain))?
            }
        };
        let replaced = self.workloads.replace_svid_keys(domain, &json);
        replaced.then_some(()).context("the key set holds no key for tokens")
    }

    fn put_in_force(&self, door: &Door, fresh: Presented) -> Result<()> {
        let mut presented = door.presented.lock().unwrap_or_else(PoisonError::into_inner);
        if presented.as_ref() == Some(&fresh) {
            return Ok(());
        }
        let trust = if door.trust.is_empty() {
            None
        } else {
            Some(Arc::new(ClientTrust::new(fresh.believed.clone())?))
        };
        let Own { chain, key } = fresh.own.clone();
        let expires = chain.first().and_then(|leaf| spiffe::expires_at(leaf).ok());
        door.live.replace(chain, key, trust)?;
        self.health.replaced(&door.name, expires);
        if presented.replace(fresh).is_some() {
            tracing::info!(door = door.name, ?expires, "certificates.replaced");
        }
        Ok(())
    }
}

impl Door {
    fn new(
        name: String,
        spot: Option<Spot>,
        own: Source<Tls>,
        trust: Vec<(Arc<Mesh>, Source<PathBuf>)>,
    ) -> Self {
        let (live, presented) = (Arc::default(), Mutex::default());
        Self { name, spot, own, trust, live, presented }
    }

    /// What is wrong with its files, and where they are named.
    fn mistake(&self, error: &anyhow::Error) -> LoadError {
        let message = format!("`tls` of {}: {error:#}", self.name);
        match &self.spot {
            Some(spot) => spot.mistake(message, Some(USABLE.into())),
            None => look::mistake(&self.name, error),
        }
    }

    /// What it should present now; `None` while the Workload API has not told our certificate.
    fn read(&self, base: &Path, told: &Told) -> Result<Option<Presented>> {
        let x509 = told.x509.last.as_deref();
        let own = match &self.own {
            Source::Files(tls) => files::own(tls, base)?,
            Source::WorkloadApi => match x509 {
                Some(x509) => x509.own.clone(),
                None => return Ok(None),
            },
        };
        let mut believed = Vec::new();
        for (mesh, source) in &self.trust {
            let known = match source {
                Source::Files(path) => Some(files::certificates(&base.join(path))?),
                Source::WorkloadApi => x509.and_then(|x509| of_domain(x509, &mesh.domain)),
            };
            believed.extend(known.map(|authorities| (Arc::clone(mesh), authorities)));
        }
        Ok(Some(Presented { own, believed }))
    }

    /// What the Workload API should have told, and did not.
    fn trouble(&self, told: &Told) -> Option<String> {
        let wanted = self.trust.iter().filter(|(_, source)| matches!(source, Source::WorkloadApi));
        let authorities = told.x509.last.as_ref().map(|x509| &x509.authorities);
        let known =
            |domain| authorities.is_some_and(|known: &Authorities| known.contains_key(domain));
        let mut missing = wanted.filter(|(mesh, _)| !known(&mesh.domain));
        if let Some((mesh, _)) = missing.next() {
            return Some(told.x509.nothing_for(&mesh.domain));
        }
        matches!(self.own, Source::WorkloadApi).then(|| told.x509.trouble.clone()).flatten()
    }
}

fn of_domain(x509: &X509, domain: &TrustDomain) -> Option<Vec<CertificateDer<'static>>> {
    x509.authorities.get(domain).filter(|authorities| !authorities.is_empty()).cloned()
}

fn doors(config: &Config) -> Vec<Door> {
    let meshes: Vec<Arc<Mesh>> = config.identity.meshes().collect();
    let listeners = config.listeners.iter().filter_map(|one| Some((one, one.tls.as_ref()?)));
    let listeners = listeners.map(|(one, tls)| {
        let own = tls.files.clone().map_or(Source::WorkloadApi, Source::Files);
        Door::new(listener(&one.name), Some(tls.spot.clone()), own, believed(tls, &meshes))
    });
    let control = config.control.tls.iter().map(|tls| {
        let spot = config.control.tls_spot.clone();
        Door::new(CONTROL.into(), spot, Source::Files(tls.clone()), Vec::new())
    });
    listeners.chain(control).collect()
}

fn listener(name: &str) -> String {
    format!("listener {name}")
}

fn believed(tls: &ListenerTls, meshes: &[Arc<Mesh>]) -> Vec<(Arc<Mesh>, Source<PathBuf>)> {
    let sources = meshes.iter().filter_map(|mesh| {
        let source = match &tls.client_ca {
            Some(ClientCa::Only(path)) => Source::Files(path.clone()),
            Some(ClientCa::Each(files)) => Source::Files(files.get(&mesh.domain)?.clone()),
            None if tls.takes(FromWorkloadApi::Bundles) => Source::WorkloadApi,
            None => return None,
        };
        Some((Arc::clone(mesh), source))
    });
    sources.collect()
}

fn tokens(config: &Config) -> Vec<Tokens> {
    let spiffe = config.identity.workloads.iter().filter_map(|workload| workload.spiffe.as_ref());
    let tokens = spiffe.filter_map(|spiffe| {
        let keys = spiffe.jwt_svid.as_ref()?.bundle.clone();
        let keys = keys.map_or(Source::WorkloadApi, Source::Files);
        Some(Tokens { domain: spiffe.domain().clone(), keys })
    });
    tokens.collect()
}
