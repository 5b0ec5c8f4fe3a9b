//! A place to ship to: a folder, or a bucket of an S3-compatible store.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::AmazonS3Builder, path::Path as Key,
};

use crate::config::{S3, Ship, ShipTo};

/// The most that one file may take on its way: a sealed segment is a few megabytes.
const SLOWEST: Duration = Duration::from_mins(2);

/// One place.
#[derive(Debug)]
pub(super) enum Target {
    Folder(PathBuf),
    Bucket { store: Arc<dyn ObjectStore>, prefix: String },
}

/// Why a file did not get there.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("`{}` cannot be written: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the bucket: {0}")]
    Bucket(#[from] Error),
}

impl Target {
    pub(super) fn open(ship: &Ship, base: &Path) -> Result<Self> {
        match (&ship.to, &ship.s3) {
            (ShipTo::Bucket { bucket, prefix }, Some(s3)) => {
                let store = store(bucket, s3, base).context("the record cannot be shipped")?;
                Ok(Self::Bucket { store, prefix: prefix.clone() })
            }
            (ShipTo::Bucket { .. }, None) => anyhow::bail!("a bucket needs credentials"),
            (ShipTo::Folder(path), _) => Ok(Self::Folder(path.clone())),
        }
    }

    /// Puts a file there as a whole: whoever reads sees it or does not. Durable when this returns.
    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), TargetError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let done = tokio::task::spawn_blocking(move || {
                    write(&path, &bytes).map_err(|source| TargetError::Folder { path, source })
                });
                done.await.unwrap_or_else(|error| Err(gone(folder, error)))
            }
            Self::Bucket { store, prefix } => {
                store.put(&key(prefix, name), PutPayload::from(bytes)).await?;
                Ok(())
            }
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, TargetError> {
        match self {
            Self::Folder(folder) => match fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(TargetError::Folder { path: folder.join(name), source }),
            },
            Self::Bucket { store, prefix } => match store.get(&key(prefix, name)).await {
                Ok(found) => Ok(Some(found.bytes().await?.into())),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), TargetError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(|source| TargetError::Folder { path, source })
            }
            Self::Bucket { store, prefix } => Ok(store.delete(&key(prefix, name)).await?),
        }
    }
}

fn store(bucket: &str, s3: &S3, base: &Path) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&s3.region)
        .with_access_key_id(s3.access_key.resolve(base)?.expose())
        .with_secret_access_key(s3.secret_key.resolve(base)?.expose())
        .with_client_options(ClientOptions::new().with_timeout(SLOWEST))
        // Whoever calls tries again, and says that it has to.
        .with_retry(RetryConfig {
            max_retries: 2,
            retry_timeout: SLOWEST,
            ..RetryConfig::default()
        });
    if let Some(endpoint) = &s3.endpoint {
        let endpoint = endpoint.as_str().trim_end_matches('/');
        // Without TLS on loopback only, which the configuration has seen to.
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http:"));
    }
    Ok(Arc::new(builder.build()?))
}

fn key(prefix: &str, name: &str) -> Key {
    Key::from(format!("{prefix}/{name}"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    let scratch = path.with_added_extension("new");
    let mut file = fs::File::create(&scratch)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&scratch, path)?;
    fs::File::open(parent)?.sync_all()
}

fn gone(folder: &Path, error: tokio::task::JoinError) -> TargetError {
    TargetError::Folder { path: folder.to_owned(), source: io::Error::other(error) }
}
