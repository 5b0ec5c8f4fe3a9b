//! The client commands: thin over the API, careful with the terminal and with tokens.
//!
//! Nothing here decides anything. What the server says is escaped before it is shown; tokens stay in
//! a file that only their owner can read and never reach a command line. Exit codes: 0 done, 1
//! refused or declined, 2 wrong use, 3 could not reach, 4 timed out; what wraps a command passes
//! the child's code through and uses 125 for its own failures.

mod access;
mod alerts;
mod ask;
mod audit;
mod bundle;
mod client;
mod close;
mod completion;
mod connect;
mod connections;
mod connectors;
mod curl;
mod deliveries;
mod emergency;
mod evidence;
mod explain;
mod exports;
mod extend;
mod failure;
mod give_back;
mod grants;
mod incidents;
mod local;
mod login;
mod logout;
mod principals;
mod profile;
mod proof;
mod redeem;
mod refused;
mod requests;
mod review;
mod revoke;
mod run;
mod schedules;
mod screen;
mod sealed;
mod services;
mod session;
mod short_id;
mod token;
mod tool_key;
mod unfinished;
mod way_table;
mod when;
mod who;
mod whoami;
mod withdraw;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_model::Clock;

pub(crate) use explain::Explain;

use self::{failure::Failure, screen::Screen, session::Session};

/// What holds for every client command.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientOptions {
    /// Which server and sign-in to use; `login --as` makes one
    #[arg(long, global = true, env = "PORTCULLIS_PROFILE", value_name = "PROFILE")]
    profile: Option<String>,
    /// For people, or for programs: the API's own body
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// In which form to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A client command.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Signs in
    Login(login::Login),
    /// Signs out, and ends every sign-in made from this one
    Logout,
    /// Shows who I am
    Whoami(whoami::WhoAmI),
    /// Runs a command in a CI job, with access for exactly this command
    Run(run::Run),
    /// Shows what I can use, and what I can ask for
    Services(services::Services),
    /// Asks for access
    Ask(ask::Ask),
    /// Opens a service at once, in an emergency: everybody who may review is told, and reviews it
    /// afterwards
    Emergency(emergency::Emergency),
    /// Makes credentials in advance, for the day on which store, identity provider and control are gone
    Sealed(sealed::Sealed),
    /// Lists access requests
    Requests(requests::Requests),
    /// Approves or declines an access request
    Review(review::ReviewArguments),
    /// Takes my own access request back
    Withdraw(withdraw::Withdraw),
    /// Lists grants, or shows one and the proof that it is on record
    Grants(grants::Grants),
    /// Ends a grant, and what it opened
    Revoke(revoke::Revoke),
    /// Asks for more of my own grant; connections that it opened live on
    Extend(extend::Extend),
    /// Gives my own grant back
    GiveBack(give_back::GiveBack),
    /// Lists the people and workloads that were seen, for reviewers and auditors
    Principals,
    /// Lists incidents, opens and closes them
    Incidents(incidents::Incidents),
    /// Shows who is on call, and says so
    Schedules(schedules::Schedules),
    /// Lists live connections
    Connections,
    /// Closes a connection
    Close(close::Close),
    /// Runs curl with my identity
    Curl(curl::Curl),
    /// Opens local addresses that lead to services, with my identity, for any tool
    Connect(connect::Connect),
    /// Prints a token for the gate, good for one service and ten minutes; or a one-time token for one
    /// of my grants, good for a minute
    Token(token::Token),
    /// Redeems a one-time token, read from standard input, for a token that opens one grant
    Redeem(redeem::Redeem),
    /// Prints a proof for one request with a token that is bound to a key; the token is read from
    /// standard input
    Proof(proof::Proof),
    /// Lists alert rules and what they last fired for
    Alerts(alerts::Alerts),
    /// Lists where the record is passed on to, and how far
    Exports(exports::Exports),
    /// Lists connected systems and how they are doing
    Connectors,
    /// What receivers did not take in the end: show, send again, drop
    Deliveries(deliveries::Deliveries),
    /// Says who had access to what
    #[command(subcommand)]
    Access(access::Access),
    /// Reads and proves the record
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Keeps all that is on record of a grant, an access request or an incident, with its proofs
    Evidence(evidence::Evidence),
    /// Looks at bundles, and steps back
    #[command(subcommand)]
    Bundle(bundle::Bundle),
    /// Prints a completion script for a shell
    Completion(completion::Completion),
    /// Says what would happen, and why; it is said as `policy explain`.
    #[command(skip)]
    Explain(Explain),
}

/// Does what was said. `whole` is the binary's whole command line, for completion.
pub(crate) fn run(
    command: ClientCommand,
    options: ClientOptions,
    clock: &dyn Clock,
    whole: clap::Command,
) -> ExitCode {
    let screen = Screen::new(options.output == Output::Json);
    let wraps = matches!(command, ClientCommand::Curl(_) | ClientCommand::Run(_));
    let profile = options.profile.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(command, options, &screen, clock, whole)),
        Err(error) => Err(Failure::local("the system gives no runtime", &error)),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            let failure = failure.under(profile.as_deref());
            screen.failure(&failure);
            if wraps { ExitCode::from(failure::WRAPPER) } else { failure.exit_code() }
        }
    }
}

async fn dispatch(
    command: ClientCommand,
    options: ClientOptions,
    screen: &Screen,
    clock: &dyn Clock,
    whole: clap::Command,
) -> Result<ExitCode, Failure> {
    let session = || Session::open(options.profile.as_deref(), screen, clock);
    match command {
        ClientCommand::Login(login) => {
            login.run(options.profile.as_deref(), screen, clock).await?;
        }
        ClientCommand::Completion(completion) => completion.run(whole),
        ClientCommand::Logout => logout::run(session()?).await?,
        ClientCommand::Whoami(whoami) => whoami.run(session()?).await?,
        ClientCommand::Run(run) => return run.run(screen, clock).await,
        ClientCommand::Services(services) => services.run(session()?).await?,
        ClientCommand::Ask(ask) => return ask.run(session()?).await,
        ClientCommand::Emergency(emergency) if emergency.is_sealed() => {
            emergency.open(screen, clock)?;
        }
        ClientCommand::Emergency(emergency) => emergency.run(session()?).await?,
        ClientCommand::Sealed(sealed) => sealed.run(session()?).await?,
        ClientCommand::Requests(requests) => requests.run(session()?).await?,
        ClientCommand::Review(review) => review.run(session()?).await?,
        ClientCommand::Withdraw(withdraw) => withdraw.run(session()?).await?,
        ClientCommand::Grants(grants) => grants.run(session()?).await?,
        ClientCommand::Revoke(revoke) => return revoke.run(session()?).await,
        ClientCommand::Extend(extend) => extend.run(session()?).await?,
        ClientCommand::GiveBack(give_back) => give_back.run(session()?).await?,
        ClientCommand::Connections => connections::run(session()?).await?,
        ClientCommand::Connectors => connectors::run(session()?).await?,
        ClientCommand::Incidents(incidents) => incidents.run(session()?).await?,
        ClientCommand::Schedules(schedules) => schedules.run(session()?).await?,
        ClientCommand::Principals => principals::run(session()?).await?,
        ClientCommand::Close(close) => close.run(session()?).await?,
        ClientCommand::Curl(curl) => return curl.run(session()?).await,
        ClientCommand::Connect(connect) => return connect.run(session()?).await,
        ClientCommand::Redeem(redeem) => {
            redeem.run(options.profile.as_deref(), screen, clock).await?;
        }
        ClientCommand::Proof(proof) => proof.run(screen, clock)?,
        ClientCommand::Token(token) => token.run(session()?).await?,
        ClientCommand::Alerts(alerts) => alerts.run(session()?).await?,
        ClientCommand::Exports(exports) => exports.run(session()?).await?,
        ClientCommand::Deliveries(deliveries) => deliveries.run(session()?).await?,
        ClientCommand::Access(access) => access.run(session()?).await?,
        ClientCommand::Audit(audit) => audit.run(session, screen, clock.now()).await?,
        ClientCommand::Evidence(evidence) => evidence.run(session()?).await?,
        ClientCommand::Bundle(bundle) => bundle.run(session()?).await?,
        ClientCommand::Explain(explain) => explain.run(session()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
