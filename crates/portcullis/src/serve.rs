//! `portcullis serve`: puts the parts together and keeps them running.
//!
//! Control has a multi-thread runtime of its own; each core of the gate has a thread of its own. They
//! share snapshots and the ports in `adapters.rs`, and nothing else. Starts without identity
//! providers; does not start with a broken configuration, a port in use, or an unreadable key.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use portcullis_api::{ApiParts, making::Making};
use portcullis_control::Control;
use portcullis_log::Log;
use portcullis_proxy::{GateHandle, Metrics};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use self::certificates::Certificates;
use crate::{
    adapters,
    check::{self, Checked},
    command::{ConfigPath, REFUSED},
    config, diagnostics,
    telemetry::{self, traces::Exporter},
};

mod anchors;
mod api;
pub(crate) mod certificates;
mod connected;
mod exposition;
mod gate;
pub(crate) mod geo;
mod handed;
mod house;
mod keys;
mod memory;
mod observe;
mod passed_on;
mod policy_tests;
mod record_metrics;
mod reload;
mod sealed;
mod watch_files;

/// The API's own streams are cut after so long.
const API_GRACE: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    at: ConfigPath,
    /// How many cores the gate uses; all of them if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Option<u16>,
    /// Microseconds that a core with quick work and few requests looks for more before it sleeps: buys
    /// latency with processor time; 0 to sleep at once
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    busy_poll: u64,
    /// Evaluate each request anew: shows what remembering decisions is worth
    #[arg(long, hide = true)]
    no_decision_cache: bool,
}

/// How the gate's cores work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// How many.
    pub(crate) number: usize,
    /// Whether they remember decisions.
    pub(crate) decision_cache: bool,
    /// How long one with quick work looks for more before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
}

/// Serves until told to stop.
pub(crate) fn run(arguments: &ServeArguments) -> Result<ExitCode> {
    telemetry::start()?;
    memory::keep();
    let checked = match check::checked(&arguments.at.config) {
        Ok(checked) => checked,
        Err(errors) => {
            let base = config::base_of(&arguments.at.config);
            eprint!("{}", diagnostics::render(&errors, &base));
            return Ok(ExitCode::from(REFUSED));
        }
    };
    check::log_warnings(&checked);
    let running = Running::start(&arguments.at.config, checked, arguments.cores())?;
    handed::tell("READY=1");
    running.wait();
    handed::tell("STOPPING=1");
    running.stop();
    Ok(ExitCode::SUCCESS)
}

impl ServeArguments {
    /// As many as asked for, or as there are.
    fn cores(&self) -> Cores {
        let there = || std::thread::available_parallelism().map_or(1, usize::from);
        let number = self.cores.map_or_else(there, usize::from);
        let busy_poll = (self.busy_poll > 0).then(|| Duration::from_micros(self.busy_poll));
        Cores { number, decision_cache: !self.no_decision_cache, busy_poll }
    }
}

/// Control's threads.
fn threads() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("control's threads cannot be started")?;
    // A file that reaches the limit of its size (`ulimit -f`) fails to grow, which the record waits
    // out; the signal that comes with it would end the process. A handler that was set stays.
    let entered = runtime.enter();
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(kind).map(drop).context("SIGXFSZ cannot be handled")?;
    drop(entered);
    Ok(runtime)
}

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Running {
    runtime: Runtime,
    gate: GateHandle,
    control: Arc<Control>,
    api: JoinHandle<std::io::Result<()>>,
    stopping: watch::Sender<bool>,
    /// What runs beside it all.
    beside: Vec<JoinHandle<()>>,
    /// What is under way may take so long to finish.
    drain: Duration,
    exporter: Option<Exporter>,
    /// The last thing to go: whoever stops before may still write to the record.
    log: Log,
}

impl Running {
    /// Starts it all from the configuration at `path`. When this returns, the gate is open.
    pub(crate) fn start(path: &Path, checked: Checked, cores: Cores) -> Result<Self> {
        let runtime = threads()?;
        let Checked { loaded, bundle } = checked;
        let digest = bundle.digest().clone();
        let settings = &loaded.config;
        let mut handed = handed::Handed::take(settings)?;
        let drain = settings.shutdown.drain.get();
        let geo = geo::Geo::first(settings, &loaded.base)?;
        let house =
            runtime.block_on(house::House::open(&loaded, bundle, &geo, runtime.handle()))?;
        let signer = Arc::new(keys::assertion_signer(&gate::base_url(&settings.control.url))?);
        let listener = match handed.control()? {
            Some(socket) => runtime.block_on(async { TcpListener::from_std(socket) })?,
            None => runtime.block_on(api::bind(settings.control.address))?,
        };
        let mut registry = Registry::default();
        let workloads = Arc::clone(&house.workloads);
        let certificates = Arc::new(Certificates::open(&loaded, workloads, &mut registry)?);
        let metrics = Metrics::register(&mut registry);
        let (traces, exporter) = telemetry::start_traces(&loaded, &mut registry)?.unzip();
        let shipping = house.shipping.clone();
        observe::register(&house, shipping.as_ref(), &mut registry)?;
        let (stopping, stopped) = watch::channel(false);
        let router = portcullis_api::router(ApiParts {
            control: Arc::clone(&house.control),
            metrics: observe::metrics(registry, Arc::clone(&metrics)),
            readiness: observe::readiness(&house, &certificates, shipping),
            standing: observe::standing(&metrics),
            traces: traces.clone(),
            assertion_keys: serde_json::json!({ "keys": [signer.jwk()] }),
            log_keys: house.log.keys().all().iter().map(ToString::to_string).collect(),
            base_url: gate::base_url(&settings.control.url),
            making: Making::default(),
            clock: Arc::clone(&house.clock),
            entropy: Arc::clone(&house.entropy),
        });
        let countries = Arc::clone(&geo) as _;
        let given = gate::Given { signer, metrics, cores, handed, countries, traces };
        let gate = gate::open(&loaded, &house, &certificates, runtime.handle(), given)?;
        let tls = certificates.control();
        // Before anybody is told that it is ready: until then, SIGHUP ends the process.
        let beside = {
            let _entered = runtime.enter();
            geo.keep_fresh();
            let slack = adapters::slack::listen(settings, &loaded.base, &house.control)?;
            let bundles = reload::start(
                path.to_owned(),
                (&loaded, digest),
                Arc::clone(&house.control),
                (Arc::clone(certificates.upstreams()), Arc::clone(&geo)),
            )?;
            [bundles, certificates.keep_fresh()?].into_iter().chain(slack).collect()
        };
        let api = runtime.spawn(api::serve(listener, tls, router, stopped));
        for (listener, address) in settings.listeners.iter().zip(gate.addresses()) {
            tracing::info!(listener = listener.name, %address, "the gate is open");
        }
        tracing::info!(address = %settings.control.address, "control answers");
        let house::House { control, log, .. } = house;
        Ok(Self { runtime, gate, control, api, stopping, beside, drain, exporter, log })
    }

    /// Waits for SIGTERM or Ctrl-C.
    pub(crate) fn wait(&self) {
        self.runtime.block_on(async {
            let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
            tokio::select! {
                _ = terminated.recv() => tracing::info!("told to stop"),
                _ = tokio::signal::ctrl_c() => tracing::info!("interrupted"),
            }
        });
    }

    /// Stops in good order: what is under way first, the record last.
    pub(crate) fn stop(self) {
        let Self { runtime, gate, control, api, stopping, beside, drain, exporter, log } = self;
        beside.iter().for_each(JoinHandle::abort);
        gate.shutdown(drain);
        stopping.send_replace(true);
        runtime.block_on(async {
            let abort = api.abort_handle();
            if tokio::time::timeout(API_GRACE, api).await.is_err() {
                abort.abort();
            }
            control.stop().await;
        });
        drop(control);
        exporter.into_iter().for_each(Exporter::stop);
        runtime.shutdown_timeout(API_GRACE);
        drop(log);
        tracing::info!("stopped");
    }
}
