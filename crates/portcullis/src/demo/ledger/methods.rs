//! The four kinds of gRPC method, one each.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status, Streaming};

/// Asks about an account.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Account {
    /// Its name.
    #[prost(string, tag = "1")]
    name: String,
    /// How many entries a stream carries; zero for no end.
    #[prost(uint32, tag = "2")]
    limit: u32,
}

/// What an account holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Balance {
    /// The account.
    #[prost(string, tag = "1")]
    account: String,
    /// In cents.
    #[prost(int64, tag = "2")]
    cents: i64,
    /// How many entries it sums up.
    #[prost(uint32, tag = "3")]
    entries: u32,
}

/// One movement.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Entry {
    /// The account.
    #[prost(string, tag = "1")]
    account: String,
    /// In cents.
    #[prost(int64, tag = "2")]
    cents: i64,
}

/// How often a stream says something.
const PACE: Duration = Duration::from_millis(100);
/// What every demo entry moves.
const CENTS: i64 = 1200;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Unary.
pub(super) async fn balance(request: Request<Account>) -> Result<Response<Balance>, Status> {
    let account = request.into_inner().name;
    if account.is_empty() {
        return Err(Status::invalid_argument("name an account"));
    }
    Ok(Response::new(Balance { account, cents: 42 * CENTS, entries: 42 }))
}

/// Server streaming: one entry per tick.
pub(super) async fn entries(request: Request<Account>) -> Result<Response<Answers<Entry>>, Status> {
    let Account { name, limit } = request.into_inner();
    let ticks = IntervalStream::new(tokio::time::interval(PACE));
    let entries = ticks.map(move |_| Ok(Entry { account: name.clone(), cents: CENTS }));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let answers: Answers<Entry> =
        if limit == 0 { Box::pin(entries) } else { Box::pin(entries.take(limit)) };
    Ok(Response::new(answers))
}

/// Client streaming: sums what comes.
pub(super) async fn post(request: Request<Streaming<Entry>>) -> Result<Response<Balance>, Status> {
    let mut entries = request.into_inner();
    let mut balance = Balance::default();
    while let Some(entry) = entries.message().await? {
        balance = balance.with(entry)?;
    }
    Ok(Response::new(balance))
}

/// Both: a balance after each entry.
pub(super) async fn reconcile(
    request: Request<Streaming<Entry>>,
) -> Result<Response<Answers<Balance>>, Status> {
    let entries = request.into_inner();
    let balances = entries.scan(Balance::default(), |balance, entry| {
        let next = entry.and_then(|entry| balance.clone().with(entry));
        if let Ok(next) = &next {
            balance.clone_from(next);
        }
        std::future::ready(Some(next))
    });
    Ok(Response::new(Box::pin(balances)))
}

impl Balance {
    fn with(self, entry: Entry) -> Result<Self, Status> {
        let cents = self.cents.checked_add(entry.cents);
        let cents = cents.ok_or_else(|| Status::out_of_range("more money than there is"))?;
        Ok(Self { account: entry.account, cents, entries: self.entries.saturating_add(1) })
    }
}
