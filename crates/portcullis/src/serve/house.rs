//! Opens what everything else stands on: the record, the store, identity, control.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use portcullis_control::{
    Control, ControlParts, Settings, keeping::Retention, ports::PeopleProvider,
};
use portcullis_identity::{Pace, ProviderClient, RelyingParty, Workloads};
use portcullis_log::{Log, LogError, LogOptions, Reader};
use portcullis_model::{Clock, Entropy};
use portcullis_policy::Bundle;
use portcullis_store::{SqliteStore, Store, StoreError};
use tokio::runtime::Handle;

use super::{
    anchors::{self, Anchors},
    gate,
    geo::Geo,
    keys, sealed,
};
use crate::{
    adapters::{self, Around, KeptRecord, LogEvents, ProvidedPeople, Receivers, TokenVerifier},
    ambient::{SystemClock, SystemEntropy},
    config::{Config, Loaded, Size},
    content_keys,
    ship::{self, Shipping},
};

/// Beyond its draining, another process that ends may take so long to let go.
const OTHERS_END: Duration = Duration::from_secs(5);

/// What is open.
#[derive(Debug)]
pub(super) struct House {
    pub(super) control: Arc<Control>,
    pub(super) workloads: Arc<Workloads>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) store: Arc<dyn Store>,
    pub(super) log: Log,
    pub(super) anchors: Anchors,
    pub(super) shipping: Option<Arc<Shipping>>,
}

impl House {
    /// Opens it all. Identity providers need not answer.
    pub(super) async fn open(
        loaded: &Loaded,
        bundle: Bundle,
        geo: &Arc<Geo>,
        runtime: &Handle,
    ) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let Loaded { config, base, .. } = loaded;
        // Another process that is about to end may still have them: it is waited for.
        let mut patience = Patience::new(config.shutdown.drain.get());
        anchors::check(loaded).await.context("the record is not what its anchors say")?;
        let log = loop {
            match open_log(config, base, &clock, &entropy) {
                Err(LogError::InUse(_)) if patience.lasts() => patience.wait("the record").await,
                opened => break opened.context("the record cannot be opened")?,
            }
        };
        let shipping = ship::start(loaded, log.directory(), runtime)?;
        let path = config.store.path();
        let store: Arc<dyn Store> = loop {
            match open_store(path).await? {
                Err(StoreError::InUse(_)) if patience.lasts() => patience.wait("the store").await,
                opened => break Arc::new(opened.with_context(|| unusable(path))?),
            }
        };
        let client = ProviderClient::new()?;
        let issuers = config.identity.workloads.iter().filter_map(crate::config::Workload::issuer);
        let workloads =
            Workloads::new(issuers.collect(), &client, &clock, Pace::default(), runtime)?
                .with_svids(config.identity.svid_tokens().collect())?
                .with_opaque(config.identity.opaque_issuers(base)?, &client, &clock, runtime)?;
        workloads.keep_fresh();
        let workloads = Arc::new(workloads);
        let base_url = gate::base_url(&config.control.url);
        let control = Control::start(ControlParts {
            store: Arc::clone(&store),
            log: Arc::new(LogEvents::new(log.handle(), Reader::open(log.directory())?)),
            bundle,
            bundle_source: loaded.bundle.clone(),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            settings: Settings {
                retention: Some(retention(config, &log, shipping.clone())?),
                ..settings(loaded, &entropy)?
            },
            people: people(loaded, &client, &clock, runtime)?,
            workloads: Arc::new(TokenVerifier(Arc::clone(&workloads))),
            notifier: Arc::new(Receivers::new(config, base, &clock, base_url.clone())?),
            slack: adapters::slack::parts(config, base)?,
            exports: adapters::exports(config, base, &clock)?,
            alerts: adapters::alerts(
                config,
                || Arc::new(Around::new(config, base, &log, Arc::clone(geo) as _)),
                base_url.clone(),
            ),
            connectors: adapters::connectors(config, base, &base_url, &clock)?,
        });
        let control = control.await.context("control cannot start")?;
        let anchors = Anchors::start(loaded, &log, runtime)?;
        Ok(Self { control, workloads, clock, entropy, store, log, anchors, shipping })
    }
}

fn retention(
    config: &Config,
    log: &Log,
    shipping: Option<Arc<Shipping>>,
) -> Result<Retention, LogError> {
    let (kept, reader) = (config.audit.retention, Reader::open(log.directory())?);
    let keeper = KeptRecord::new(reader, log.keys().clone(), shipping);
    Ok(Retention { after: kept.after(), policy: kept.to_string(), keeper: Arc::new(keeper) })
}

fn settings(loaded: &Loaded, entropy: &Arc<dyn Entropy>) -> Result<Settings> {
    let Loaded { config, base, .. } = loaded;
    let sign_ins = &config.identity.sign_ins;
    let scim = config.identity.scim.as_ref();
    Ok(Settings {
        access_request: config.access_requests.expire_after,
        people: config.identity.same_people(),
        control_sign_in: sign_ins.absolute,
        idle: sign_ins.idle,
        gate_ports: config.listeners.iter().map(|listener| listener.address.port()).collect(),
        cleartext: config.demo,
        store_key: keys::store_key(config.store.path(), entropy.as_ref())?,
        relying_party: RelyingParty::of(&config.control.url),
        sources: config.identity.sources(),
        methods: config.identity.methods(),
        sealing: sealed::sealing(loaded, entropy.as_ref())?,
        base_url: gate::base_url(&config.control.url),
        deciders: config.connectors.deciders(base)?,
        provisioning: scim.map(|scim| scim.provisioning(base)).transpose()?,
        content_keys: content_keys::open(
            &base.join(config.audit.content_keys()),
            entropy.as_ref(),
        )?,
        // Beside the log, which it is made from.
        index: Some(base.join(&config.audit.directory).join("index.db")),
        ..Settings::default()
    })
}

fn people(
    loaded: &Loaded,
    client: &ProviderClient,
    clock: &Arc<dyn Clock>,
    runtime: &Handle,
) -> Result<Vec<Arc<dyn PeopleProvider>>> {
    let providers = loaded.config.identity.people.iter().map(|people| {
        let people = people.client(&loaded.base, client, clock, runtime)?;
        Ok(Arc::new(ProvidedPeople(people)) as Arc<dyn PeopleProvider>)
    });
    providers.collect()
}

fn open_log(
    config: &Config,
    base: &Path,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Log, LogError> {
    let host = config.control.url.host_str().unwrap_or("localhost");
    let options = LogOptions {
        directory: base.join(&config.audit.directory),
        name: format!("{host}/audit"),
        entropy: Arc::clone(entropy),
        clock: Arc::clone(clock),
        checkpoint_every: config.audit.checkpoint_every.get(),
        most: config.audit.most.map(Size::bytes),
    };
    Log::open(&options)
}

async fn open_store(path: &Path) -> Result<Result<SqliteStore, StoreError>> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("the store's folder {} cannot be made", parent.display()))?;
    }
    Ok(SqliteStore::open(path).await)
}

fn unusable(store: &Path) -> String {
    format!("the store {} cannot be opened", store.display())
}

/// How long another process is waited for.
struct Patience {
    until: Instant,
    told: bool,
}

impl Patience {
    fn new(drain: Duration) -> Self {
        Self { until: Instant::now() + drain + OTHERS_END, told: false }
    }

    fn lasts(&self) -> bool {
        Instant::now() < self.until
    }

    async fn wait(&mut self, what: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!("another process has {what} open; waiting for its end");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
