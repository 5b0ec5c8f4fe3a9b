//! `portcullis demo`: a company in one process, on loopback.
//!
//! The gate, control, three services behind the gate and an identity provider, each on its own port.
//! The product is started from a configuration file like anywhere else; nothing in it knows of the demo.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result};
use axum::Router;
use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use crate::{
    ambient::{SystemClock, SystemEntropy},
    check,
    command::REFUSED,
    diagnostics,
    serve::{Cores, Running},
    telemetry,
};

mod files;
mod identity_provider;
mod ledger;
mod logs;
mod payments;
mod rehearsal;
mod sign_in;
mod tour;

use identity_provider::IdentityProvider;

/// What the demo can be told.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    #[command(subcommand)]
    command: Option<DemoCommand>,
    /// Keep state and files in this folder; without it, in a temporary one
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Use free ports instead of the usual ones
    #[arg(long)]
    free_ports: bool,
    /// Run the guided tour as a test, and end
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Fills in the identity provider's form, as a person would in a browser
    SignIn(sign_in::SignIn),
}

/// Where everything listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    gate: SocketAddr,
    control: SocketAddr,
    provider: SocketAddr,
    payments: SocketAddr,
    ledger: SocketAddr,
    logs: SocketAddr,
}

/// Enough to show that cores share what they must.
const CORES: Cores = Cores { number: 2, decision_cache: true, busy_poll: None };

/// Where everything listens unless told otherwise; the demo's files say so too.
const USUAL: Addresses = Addresses {
    gate: loopback(8080),
    control: loopback(8600),
    provider: loopback(8610),
    payments: loopback(8611),
    ledger: loopback(8612),
    logs: loopback(8613),
};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Runs the demo, or one of its commands.
pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("the demo's services need threads")?;
    match &arguments.command {
        Some(DemoCommand::SignIn(command)) => runtime.block_on(sign_in::run(command)),
        None => start(arguments, &runtime),
    }
}

fn start(arguments: &DemoArguments, runtime: &tokio::runtime::Runtime) -> Result<ExitCode> {
    let folder = files::Folder::open(arguments.dir.as_deref())?;
    let addresses = runtime.block_on(start_services(arguments.free_ports))?;
    folder.write(addresses)?;
    telemetry::start_quietly()?;
    let config = folder.config();
    let checked = check::checked(&config).map_err(|errors| {
        anyhow::anyhow!(
            "the demo's files are broken\n{}",
            diagnostics::render(&errors, folder.path())
        )
    })?;
    let running = Running::start(&config, checked, CORES)?;
    println!("The demo runs; its files and state are in {}", folder.path().display());
    println!("gate http://{}, control http://{}", addresses.gate, addresses.control);
    let steps = tour::steps(addresses, folder.path())?;
    let outcome = if arguments.check {
        runtime.block_on(rehearsal::run(&steps))
    } else {
        tour::print(&steps);
        running.wait();
        Ok(())
    };
    running.stop();
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error:#}");
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// Starts what is not the product: the services behind the gate, and the identity provider.
async fn start_services(free_ports: bool) -> Result<Addresses> {
    let wanted = |usual: SocketAddr| if free_ports { loopback(0) } else { usual };
    let provider = bind(wanted(USUAL.provider)).await?;
    let issuer = format!("http://{}", provider.local_addr()?);
    let issuer = IdentityProvider::new(issuer, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let addresses = Addresses {
        gate: if free_ports { free_address().await? } else { USUAL.gate },
        control: if free_ports { free_address().await? } else { USUAL.control },
        provider: provider.local_addr()?,
        payments: serve(bind(wanted(USUAL.payments)).await?, payments::router())?,
        ledger: serve(bind(wanted(USUAL.ledger)).await?, ledger::router())?,
        logs: serve(bind(wanted(USUAL.logs)).await?, logs::router())?,
    };
    serve(provider, issuer.router())?;
    Ok(addresses)
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("{address} cannot be used; stop what listens there, or start with --free-ports")
    })
}

/// An address that was free a moment ago: the product binds its own listeners.
async fn free_address() -> Result<SocketAddr> {
    Ok(bind(loopback(0)).await?.local_addr()?)
}

fn serve(listener: TcpListener, router: Router) -> Result<SocketAddr> {
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%address, %error, "a demo service stopped");
        }
    });
    Ok(address)
}

impl Addresses {
    /// `text` with the usual addresses replaced by these.
    fn put_into(self, text: &str) -> String {
        let pairs = [
            (USUAL.gate, self.gate),
            (USUAL.control, self.control),
            (USUAL.provider, self.provider),
            (USUAL.payments, self.payments),
            (USUAL.ledger, self.ledger),
            (USUAL.logs, self.logs),
        ];
        // Two passes: a free port may be another one's usual port.
        let mut text = text.to_owned();
        for (index, (usual, _)) in pairs.iter().enumerate() {
            for host in ["127.0.0.1", "localhost"] {
                text =
                    text.replace(&format!("{host}:{}", usual.port()), &format!("{host}:<{index}>"));
            }
        }
        for (index, (_, actual)) in pairs.iter().enumerate() {
            text = text.replace(&format!(":<{index}>"), &format!(":{}", actual.port()));
        }
        text
    }
}

#[cfg(test)]
mod tests;
