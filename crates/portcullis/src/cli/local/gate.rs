//! One connection through the gate: an Upgrade, then frames.

use std::{net::SocketAddr, pin::pin, time::Duration};

use portcullis_api::services::ServiceBody;
use portcullis_model::{InstanceName, Secret};
use portcullis_proxy::tunnel::{Broken, Inward, Outward, PROTOCOL, Wire};
use reqwest::{Client, StatusCode, header, redirect};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use url::Url;

use super::{
    Event, Teller,
    refusal::{self, Refused},
};
use crate::cli::failure::Failure;

/// The gate answers once it is connected to the service, and has written down that it is.
const ANSWER: Duration = Duration::from_secs(30);

/// Where a service is reached.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    client: Client,
    url: Url,
    instance: Option<InstanceName>,
}

impl Gate {
    /// Of `service`: where `gate` says, or else at the service's own host.
    pub(super) async fn find(
        service: &ServiceBody,
        instance: Option<&InstanceName>,
        gate: Option<&Url>,
    ) -> Result<Self, Failure> {
        let host = service.hosts.first().map_or("", String::as_str);
        let mut builder = Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // The token must not go anywhere else.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10));
        let mut url = format!("https://{host}/");
        if let Some(gate) = gate {
            let port = gate.port_or_known_default().unwrap_or(443);
            let name = gate.host_str().unwrap_or_default();
            let at = lookup_host((name.trim_matches(['[', ']']), port)).await;
            let at: Vec<SocketAddr> = at
                .map_err(|error| Failure::Unreachable(format!("cannot find {gate}: {error}")))?
                .collect();
            builder = builder.resolve_to_addrs(host, &at);
            url = format!("{}://{host}:{port}/", gate.scheme());
        }
        let url = Url::parse(&url)
            .map_err(|error| Failure::local(&format!("the host `{host}`"), &error))?;
        let client = builder.build();
        let client =
            client.map_err(|error| Failure::local("no HTTP client can be made", &error))?;
        Ok(Self { client, url, instance: instance.cloned() })
    }

    /// Carries what comes on `local` to its end, and says what is to be said about it.
    pub(super) async fn serve(self, local: TcpStream, teller: Teller) {
        let _ = local.set_nodelay(true);
        let Some(Ok(token)) = teller.token().await else { return reset(&local) };
        let event = match self.open(&token).await {
            Ok((wire, grant)) => {
                teller.tell(Event::Opened(grant));
                carry(local, wire).await.map(Event::Cut)
            }
            Err(event) => {
                reset(&local);
                Some(event)
            }
        };
        if let Some(event) = event {
            teller.tell(event);
        }
    }

    async fn open(&self, token: &Secret) -> Result<(reqwest::Upgraded, Option<String>), Event> {
        let mut request = self
            .client
            .get(self.url.clone())
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .header("Portcullis-Authorization", format!("Bearer {}", token.expose()));
        if let Some(instance) = &self.instance {
            request = request.header("Portcullis-Instance", instance.as_str());
        }
        let unreachable = |what: &dyn std::fmt::Display| {
            Event::Unreachable(format!("cannot reach {}: {what}; is the gate there?", self.url))
        };
        let answer = tokio::time::timeout(ANSWER, request.send()).await;
        let answer = answer.map_err(|_| unreachable(&"no answer in time"))?;
        let answer = answer.map_err(|error| unreachable(&cause(&error)))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let grant = answer.headers().get("portcullis-grant");
            let grant = grant.and_then(|grant| Some(grant.to_str().ok()?.to_owned()));
            let wire = answer.upgrade().await.map_err(|error| unreachable(&cause(&error)))?;
            return Ok((wire, grant));
        }
        let status = answer.status();
        let Some(mark) = refusal::mark(answer.headers()) else {
            let what = format!("{} answered {status}, and not as a gate", self.url);
            return Err(Event::Unreachable(what));
        };
        let body = answer.bytes().await.map_err(|error| unreachable(&cause(&error)))?;
        let refused = Box::new(Refused::of_answer(mark, status, &body));
        Err(Event::Refused { refused, token: token.clone() })
    }
}

/// Carries bytes both ways; returns why it was cut, if it was.
async fn carry(local: TcpStream, wire: reqwest::Upgraded) -> Option<String> {
    let (from_local, to_local) = tokio::io::split(local);
    let (from_gate, to_gate) = tokio::io::split(wire);
    let mut up = Outward::new(from_local, to_gate, Wire::Framed);
    let mut down = Inward::new(from_gate, to_local, Wire::Framed);
    let ended = {
        let up = async {
            match up.pass(|_| true).await {
                // A gate that takes nothing more says why in the other direction.
                Err(Broken::Sink) => std::future::pending().await,
                passed => passed.map_err(|_| None),
            }
        };
        both(up, &mut down).await
    };
    let ((from_local, _), (_, to_local)) = (up.into_ends(), down.into_ends());
    match ended {
        Ok(()) => None,
        Err(why) => {
            reset(&from_local.unsplit(to_local));
            why
        }
    }
}

/// Until both directions have come to their end. The gate may cut what the service has ended: our own side may
/// have more to say, and whoever says it must not wait for ever.
async fn both<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    up: impl Future<Output = Result<(), Option<String>>>,
    down: &mut Inward<R, W>,
) -> Result<(), Option<String>> {
    let mut up = pin!(up);
    let is_sent = {
        let mut passed = pin!(down.pass(|_| true));
        let mut is_sent = false;
        loop {
            tokio::select! {
                biased;
                passed = &mut passed => {
                    passed.map_err(why)?;
                    break is_sent;
                }
                sent = &mut up, if !is_sent => {
                    sent?;
                    is_sent = true;
                }
            }
        }
    };
    if is_sent {
        return Ok(());
    }
    tokio::select! {
        biased;
        broken = down.until_closed() => Err(why(broken)),
        sent = up => sent,
    }
}

/// What is to be said of it.
fn why(broken: Broken) -> Option<String> {
    match broken {
        Broken::Closed(why) => Some(why),
        Broken::Source => Some("the gate is gone".to_owned()),
        Broken::Malformed | Broken::Bound => Some("the gate sent no frames".to_owned()),
        // Our own side left in the middle: the gate sees that no end was sent.
        Broken::Sink => None,
    }
}

/// What comes of it now is cut short: nobody takes it for an end.
fn reset(local: &TcpStream) {
    let _ = local.set_zero_linger();
}

/// The innermost of what went wrong: the outer ones repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
