//! Syslog: messages of RFC 5424, counted in octets (RFC 5425, RFC 6587).
//!
//! Syslog has no answers. Each batch has a connection of its own, which is closed towards the collector when
//! all is written; the batch counts as delivered once the collector closes its side as well, as RFC 5425
//! (4.4) says that it must. It has read everything then: one that closes without reading resets the
//! connection, and that is waited for.

use std::{fmt::Write, io, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use portcullis_control::{
    export::{Outgoing, Sink},
    ports::NotDelivered,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::not_delivered;
use crate::config::export::{DELIVERY, Syslog as Config, Transport};

/// Events on one connection.
const MOST: usize = 256;
/// Facility 13, log audit.
const FACILITY: u8 = 13;
const NOTICE: u8 = 5;
const WARNING: u8 = 4;
const CONNECT: Duration = Duration::from_secs(5);
/// How often it is looked whether everything is acknowledged; nobody is told by themselves.
const ACKNOWLEDGED: Duration = Duration::from_millis(2);
/// What a value of structured data is cut at: the message has it whole.
const LONGEST_VALUE: usize = 256;

/// A collector of syslog.
pub(super) struct Collector {
    address: String,
    hostname: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(config: &Config, base: &Path) -> Result<Self> {
        let tls = match config.transport {
            Transport::Tls => {
                let roots = roots(config.ca.as_ref().map(|ca| base.join(ca)).as_deref())?;
                let tls =
                    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                let host = config.address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host).context("the collector's name")?;
                Some((TlsConnector::from(Arc::new(tls)), name))
            }
            Transport::Tcp => None,
        };
        Ok(Self { address: config.address.clone(), hostname: config.hostname.clone(), tls })
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let stream = timeout(CONNECT, TcpStream::connect(&self.address)).await??;
        match &self.tls {
            Some((connector, name)) => {
                let stream = talk(connector.connect(name.clone(), stream).await?, bytes).await?;
                over(stream.get_ref().0).await
            }
            None => over(&talk(stream, bytes).await?).await,
        }
    }
}

#[async_trait]
impl Sink for Collector {
    fn most(&self) -> usize {
        MOST
    }

    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered> {
        let mut bytes = Vec::new();
        for event in batch {
            let message = message(event, &self.hostname);
            bytes.extend_from_slice(message.len().to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(message.as_bytes());
        }
        match timeout(DELIVERY, self.write(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(not_delivered(error)),
            Err(_) => Err(not_delivered(
                "it does not close the connection when everything is written: whether it has read it is unknown",
            )),
        }
    }
}

/// Writes all, says that it was all, and waits for the same from the other side.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> io::Result<S> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let all = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    tokio::select! {
        biased;
        ended = end(&mut reader) => {
            ended?;
            return Err(io::Error::other("it closes the connection before everything is written"));
        }
        written = all => written?,
    }
    end(&mut reader).await?;
    Ok(reader.unsplit(writer))
}

/// Reads and ignores, to the end.
async fn end(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut ignored = [0; 256];
    while reader.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Waits for the last word on a connection that both sides closed. The end of what a collector sends may come
/// before its answer to what it was sent, and that may be a reset: it closed without reading. A socket has
/// no peer any more as soon as the peer's system has acknowledged everything, or reset it.
async fn over(socket: &TcpStream) -> io::Result<()> {
    while socket.peer_addr().is_ok() {
        sleep(ACKNOWLEDGED).await;
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

/// One message. The text is JSON in ASCII, whatever is in it: it needs no byte order mark, which RFC 5424
/// wants before UTF-8 and parsers of JSON do not.
fn message(event: &Outgoing, hostname: &str) -> String {
    let severity = if event.notable { WARNING } else { NOTICE };
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let mut data =
        format!("[portcullis@32473 id=\"{}\" seq=\"{}\"", value(&event.id), event.position);
    if let Some(principal) = &event.principal {
        let _infallible = write!(data, " principal=\"{}\"", value(principal));
    }
    data.push(']');
    format!(
        "<{}>1 {time} {hostname} portcullis - {} {data} {}",
        FACILITY * 8 + severity,
        message_id(&event.kind),
        ascii(&event.json)
    )
}

/// MSGID: up to 32 printable characters.
fn message_id(kind: &str) -> String {
    let id: String = kind.chars().filter(char::is_ascii_graphic).take(32).collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

/// PARAM-VALUE (6.3.3): three characters are escaped, and no others.
fn value(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars().take(LONGEST_VALUE) {
        if matches!(c, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}

/// JSON with nothing but ASCII in it, and the same.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        anyhow::ensure!(
            added > 0,
            "this machine knows no certificate authorities; name one with `ca`"
        );
        return Ok(roots);
    };
    let named = || format!("{} is not usable; it must be a readable PEM file", ca.display());
    for certificate in CertificateDer::pem_file_iter(ca).with_context(named)? {
        roots.add(certificate.with_context(named)?).with_context(named)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", ca.display());
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn delivered(to: std::net::SocketAddr, bytes: &[u8]) -> io::Result<()> {
        over(&talk(TcpStream::connect(to).await?, bytes).await?).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_that_closes_without_reading_has_taken_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        for bytes in [1, 40_000].map(|many| vec![b'x'; many]) {
            for _ in 0..200 {
                delivered(to, &bytes).await.expect_err("nobody read it");
            }
        }
    }

    #[tokio::test]
    async fn a_collector_that_closes_when_it_has_read_has_taken_everything() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let all = tokio::spawn(async move {
            let mut text = Vec::new();
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.read_to_end(&mut text).await.expect("text");
            text.len()
        });
        delivered(to, &vec![b'x'; 1_000_000]).await.expect("it was read");
        assert_eq!(all.await.expect("ended"), 1_000_000);
    }

    #[test]
    fn a_message_is_what_rfc_5424_says() {
        let event = Outgoing {
            position: 7,
            id: "01\"]\\X".into(),
            kind: "attempt".into(),
            time: "2026-11-22T10:00:00.5Z".parse().expect("a time"),
            principal: Some("corp:añ\na".into()),
            notable: true,
            json: "{\"a\":\"é😀\"}".into(),
        };
        assert_eq!(
            message(&event, "gate-1"),
            "<108>1 2026-11-22T10:00:00.500000Z gate-1 portcullis - attempt \
             [portcullis@32473 id=\"01\\\"\\]\\\\X\" seq=\"7\" principal=\"corp:añ a\"] \
             {\"a\":\"\\u00e9\\ud83d\\ude00\"}"
        );
        let json: serde_json::Value = serde_json::from_str(&ascii(&event.json)).expect("json");
        assert_eq!(json["a"], "é😀");
        assert_eq!(message_id("a b\u{e9}"), "ab");
        assert_eq!(message_id(""), "-");
    }
}
