//! The SPIFFE Workload API: our own certificate, and the bundles of trust domains, as they change.
//!
//! Follows the agent's streams over its Unix socket and starts anew when they break. What was good
//! stays: an agent that is away takes nothing away, and certificates end by themselves. An answer that
//! cannot be read is an error of the agent's, told and otherwise ignored.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use portcullis_identity::spiffe::{TrustDomain, certificates};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{net::UnixStream, sync::watch};
use tonic::{
    Request, Streaming,
    client::Grpc,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::files::Own;

/// Between two tries: 1 s, 2 s, 4 s and so on, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
const CONNECTS: Duration = Duration::from_secs(5);

/// The authorities of each trust domain.
pub(in crate::serve) type Authorities = BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>;

/// What the agent said of certificates.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::serve) struct X509 {
    /// Our own: the first of those that the agent gives us, which is the default one.
    pub(in crate::serve) own: Own,
    /// Of our trust domain, and of those that it is federated with.
    pub(in crate::serve) authorities: Authorities,
}

/// The JWKS of each trust domain.
pub(in crate::serve) type KeySets = BTreeMap<TrustDomain, Vec<u8>>;

/// What the agent said last, or why nothing came.
#[derive(Debug)]
pub(in crate::serve) struct Heard<T> {
    /// The last good answer.
    pub(in crate::serve) last: Option<Arc<T>>,
    /// What is wrong since then.
    pub(in crate::serve) trouble: Option<String>,
}

impl<T> Clone for Heard<T> {
    fn clone(&self) -> Self {
        Self { last: self.last.clone(), trouble: self.trouble.clone() }
    }
}

impl<T> Default for Heard<T> {
    fn default() -> Self {
        Self { last: None, trouble: None }
    }
}

impl<T> Heard<T> {
    /// Why there is nothing for `domain`.
    pub(in crate::serve) fn nothing_for(&self, domain: &TrustDomain) -> String {
        match &self.trouble {
            Some(trouble) => trouble.clone(),
            None => format!("the Workload API tells nothing of {domain}"),
        }
    }
}

/// Follows certificates and bundles until nobody listens. Needs a runtime.
pub(in crate::serve) fn follow_x509(socket: &Path) -> watch::Receiver<Heard<X509>> {
    follow(socket, "/SpiffeWorkloadAPI/FetchX509SVID", read_x509)
}

/// Follows key sets until nobody listens. Needs a runtime.
pub(in crate::serve) fn follow_keys(socket: &Path) -> watch::Receiver<Heard<KeySets>> {
    follow(socket, "/SpiffeWorkloadAPI/FetchJWTBundles", read_keys)
}

fn follow<M, T>(
    socket: &Path,
    method: &'static str,
    read: fn(M) -> Result<T>,
) -> watch::Receiver<Heard<T>>
where
    M: prost::Message + Default + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    let (heard, listener) = watch::channel(Heard::default());
    let socket: Arc<Path> = socket.into();
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while !heard.is_closed() {
            let trouble = tokio::select! {
                broken = listen(&socket, method, read, &heard, &mut pause) => broken,
                () = heard.closed() => return,
            };
            let trouble = format!("the Workload API at {}: {trouble:#}", socket.display());
            tracing::warn!(method, %trouble, "what is known stays");
            heard.send_modify(|heard| heard.trouble = Some(trouble));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    });
    listener
}

/// Listens to one stream until it breaks; says why.
async fn listen<M, T>(
    socket: &Arc<Path>,
    method: &'static str,
    read: fn(M) -> Result<T>,
    heard: &watch::Sender<Heard<T>>,
    pause: &mut Duration,
) -> anyhow::Error
where
    M: prost::Message + Default + Send + Sync + 'static,
{
    let mut stream = match open::<M>(socket, method).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return anyhow::anyhow!("the agent closed the stream"),
            Err(status) => return told(&status),
        };
        match read(answer) {
            Ok(good) => {
                *pause = FIRST_PAUSE;
                heard.send_replace(Heard { last: Some(Arc::new(good)), trouble: None });
            }
            Err(error) => return error.context("its answer cannot be used"),
        }
    }
}

fn told(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{:?}: {}", status.code(), status.message())
}

async fn open<M>(socket: &Arc<Path>, method: &'static str) -> Result<Streaming<M>>
where
    M: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(connect(socket).await?);
    grpc.ready().await.context("the agent does not answer")?;
    let mut request = Request::new(Empty {});
    // SPIFFE Workload Endpoint, 3: keeps others from being tricked into asking.
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    let codec: ProstCodec<Empty, M> = ProstCodec::default();
    let method = PathAndQuery::from_static(method);
    let answer = grpc.server_streaming(request, method, codec).await;
    Ok(answer.map_err(|status| told(&status))?.into_inner())
}

async fn connect(socket: &Arc<Path>) -> Result<Channel> {
    let socket = Arc::clone(socket);
    let connector = tower::service_fn(move |_| {
        let socket = Arc::clone(&socket);
        async move { UnixStream::connect(&*socket).await.map(TokioIo::new) }
    });
    // The address is never looked up: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECTS);
    endpoint.connect_with_connector(connector).await.context("it cannot be reached")
}

fn read_x509(answer: X509SvidResponse) -> Result<X509> {
    if !answer.crl.is_empty() {
        bail!("it has revocation lists, which this version does not carry out");
    }
    let first = answer.svids.into_iter().next().context("it names no identity for us")?;
    let chain = certificates(&first.certificate).context("our certificate")?;
    if chain.is_empty() || first.key.is_empty() {
        bail!("our certificate or its key is missing");
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(first.key));
    let id: portcullis_identity::spiffe::SpiffeId = first.spiffe_id.parse()?;
    let mut authorities = Authorities::new();
    for (domain, bundle) in answer.federated_bundles {
        let domain = TrustDomain::of_id(&domain)?;
        let bundle = certificates(&bundle).with_context(|| format!("the bundle of {domain}"))?;
        authorities.insert(domain, bundle);
    }
    authorities.insert(id.domain().clone(), certificates(&first.bundle).context("our bundle")?);
    Ok(X509 { own: Own { chain, key }, authorities })
}

fn read_keys(answer: JwtBundlesResponse) -> Result<KeySets> {
    let pairs = answer.bundles.into_iter();
    pairs.map(|(domain, keys)| Ok((TrustDomain::of_id(&domain)?, keys))).collect()
}

/// `X509SVIDRequest` and `JWTBundlesRequest`, which say nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<X509Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    crl: Vec<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// One identity. DER throughout; the key is PKCS#8.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct X509Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

impl std::fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "X509Svid({})", self.spiffe_id)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtBundlesResponse {
    #[prost(btree_map = "string, bytes", tag = "1")]
    bundles: BTreeMap<String, Vec<u8>>,
}
