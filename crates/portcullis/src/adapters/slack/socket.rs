//! Socket Mode: Slack calls back over a WebSocket that this process opened.
//!
//! Each envelope is acknowledged once control has taken it, so that what was not taken comes again.
//! When Slack says that it will disconnect, the next connection is there before the old one goes.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use portcullis_control::Control;
use portcullis_identity::chat::FromChat;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use url::{Host, Url};

use super::{WebApi, slack};
use crate::config::Config;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(10);
/// Slack pings every few seconds.
const LONGEST_SILENCE: Duration = Duration::from_mins(2);
const LARGEST: usize = 1024 * 1024;
/// Envelopes that are worked on at one time on one connection.
const AT_ONCE: usize = 64;

type Socket = WebSocketStream<Box<dyn Stream>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    envelope_id: Option<String>,
    reason: Option<String>,
}

/// Listens for as long as control is there, if `config` says so.
pub(crate) fn listen(
    config: &Config,
    base: &Path,
    control: &Arc<Control>,
) -> Result<Option<JoinHandle<()>>> {
    let Some(slack) = slack(config) else { return Ok(None) };
    let Some(token) = &slack.app_token else { return Ok(None) };
    let token = token.resolve(base).context("the app token of `connectors.slack`")?;
    let api = WebApi::new(&slack.api, token)?;
    let listener = Listener { api, control: Arc::downgrade(control) };
    Ok(Some(tokio::spawn(listener.run())))
}

struct Listener {
    api: WebApi,
    control: Weak<Control>,
}

impl Listener {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut failing = false;
        while self.control.strong_count() > 0 {
            match self.connected().await {
                Ok(socket) => {
                    self.say(None);
                    if std::mem::take(&mut failing) {
                        tracing::info!("Slack's Socket Mode is connected again");
                    }
                    pause = FIRST_PAUSE;
                    // The next one begins when this one is about to end.
                    let (leaving, mut left) = watch::channel(false);
                    tokio::spawn(serve(socket, Weak::clone(&self.control), leaving));
                    let _either = left.changed().await;
                    if !*left.borrow() {
                        self.say(Some("the connection broke"));
                        // It broke: whoever comes back at once may find it broken again.
                        sleep(FIRST_PAUSE).await;
                    }
                }
                Err(error) => {
                    self.say(Some(&error.to_string()));
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "Slack's Socket Mode is not connected, and tried again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Whether Slack can call back; with why not.
    fn say(&self, why_not: Option<&str>) {
        if let Some(control) = self.control.upgrade() {
            control.slack_listens(why_not);
        }
    }

    /// A connection that Slack has greeted.
    async fn connected(&self) -> Result<Socket> {
        let opened = self.api.read("apps.connections.open", &[]).await;
        let answer = match opened {
            Ok(answer) => answer,
            Err(portcullis_control::connector::slack::NotTaken::Limited(wait)) => {
                let why = "Slack takes no more connections now";
                // It may be long: whoever looks is told meanwhile.
                self.say(Some(why));
                sleep(wait).await;
                bail!(why);
            }
            Err(error) => return Err(error.into()),
        };
        let url = answer.get("url").and_then(serde_json::Value::as_str);
        let url: Url =
            url.unwrap_or_default().parse().context("Slack names no URL to connect to")?;
        let mut socket =
            timeout(CONNECT, connect(&url)).await.context("Slack does not answer")??;
        let greeted =
            timeout(CONNECT, next(&mut socket)).await.context("Slack says no hello")??;
        let head: Head = serde_json::from_str(&greeted).context("Slack's hello cannot be read")?;
        if head.kind != "hello" {
            bail!("Slack says no hello, but {:?}", head.kind);
        }
        Ok(socket)
    }
}

/// The next text. Pings are answered by the library.
async fn next(socket: &mut Socket) -> Result<String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(_))) | None => bail!("Slack closed the connection"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

async fn serve(mut socket: Socket, control: Weak<Control>, leaving: watch::Sender<bool>) {
    let (acknowledge, mut acknowledged) = mpsc::channel::<String>(AT_ONCE);
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    loop {
        tokio::select! {
            Some(id) = acknowledged.recv() => {
                let text = serde_json::json!({ "envelope_id": id }).to_string();
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            came = timeout(LONGEST_SILENCE, socket.next()) => {
                let text = match came {
                    Ok(Some(Ok(Message::Text(text)))) => text.as_str().to_owned(),
                    Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return,
                    Ok(Some(Ok(_))) => continue,
                };
                let Ok(head) = serde_json::from_str::<Head>(&text) else { continue };
                if head.kind == "disconnect" {
                    tracing::debug!(reason = head.reason, "Slack ends a connection of Socket Mode");
                    leaving.send_replace(true);
                    continue;
                }
                let (Some(id), Some(control)) = (head.envelope_id, control.upgrade()) else { continue };
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                let acknowledge = acknowledge.clone();
                tokio::spawn(async move {
                    let _place = place;
                    match control.slack_envelope(FromChat::over_own_connection(), &text).await {
                        Ok(()) => drop(acknowledge.send(id).await),
                        Err(error) => tracing::error!(%error, "an envelope of Slack's is not taken"),
                    }
                });
            }
        }
    }
}

async fn connect(url: &Url) -> Result<Socket> {
    let host = url.host().context("Slack names no host to connect to")?;
    let here = match &host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => *name == "localhost",
    };
    let is_secure = url.scheme() == "wss";
    let is_here = here && url.scheme() == "ws";
    if !(is_secure || is_here) {
        bail!("Slack names a URL that others could read");
    }
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let stream =
        TcpStream::connect((name.as_str(), port)).await.context("Slack cannot be reached")?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = if is_secure {
        let name = ServerName::try_from(name).context("Slack names no host to connect to")?;
        Box::new(TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    let limits =
        WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let (socket, _) = client_async_with_config(url.as_str(), stream, Some(limits)).await?;
    Ok(socket)
}

fn tls() -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    anyhow::ensure!(added > 0, "this machine knows no certificate authorities");
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
