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
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    aws::AmazonS3Builder,
    client::{HttpError, HttpErrorKind},
    path::Path as Key,
};

use sha2::{Digest, Sha256};

use crate::config::{S3, Ship, ShipTo};

/// The most that one file may take on its way: a sealed segment is a few megabytes.
const SLOWEST: Duration = Duration::from_mins(2);

const NOT_IMPLEMENTED: &str = "501";

/// One place.
#[derive(Debug)]
pub(crate) enum Target {
    Folder(PathBuf),
    Bucket { store: Arc<dyn ObjectStore>, prefix: String },
}

/// Why a file did not get there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("`{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("`{}` is not there: make the folder, or mount what it is on", .0.display())]
    NoFolder(PathBuf),
    /// What the store says in so many words stays there: it may name keys, and differs each time.
    #[error("the bucket: cannot {doing}: {}", reason(source))]
    Bucket { doing: &'static str, source: Error },
    #[error("a thread of the shipping ended")]
    Gone,
}

/// An error without what the other side wrote.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    if let Some(status) = status(&text) {
        return format!("the store answers {status}");
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Connect => "the store cannot be reached",
                HttpErrorKind::Timeout => "the store does not answer in time",
                HttpErrorKind::Interrupted => "the connection ended early",
                _ => "the request failed",
            }
            .to_owned();
        }
        cause = error.source();
    }
    match error {
        Error::PermissionDenied { .. } => "not permitted",
        Error::Unauthenticated { .. } => "the key is not accepted",
        Error::NotFound { .. } => "not found",
        _ => "the request failed",
    }
    .to_owned()
}

/// What the store answered, as far as its client says.
fn status(text: &str) -> Option<&str> {
    let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3));
    status.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Target {
    pub(crate) fn open(ship: &Ship, base: &Path) -> Result<Self> {
        match (&ship.to, &ship.s3) {
            (ShipTo::Bucket { bucket, prefix }, Some(s3)) => {
                Self::bucket(bucket, prefix, s3, base).context("the record cannot be shipped")
            }
            (ShipTo::Bucket { .. }, None) => anyhow::bail!("a bucket needs credentials"),
            (ShipTo::Folder(path), _) => Ok(Self::Folder(path.clone())),
        }
    }

    /// A place in a bucket.
    pub(crate) fn bucket(bucket: &str, prefix: &str, s3: &S3, base: &Path) -> Result<Self> {
        Ok(Self::Bucket { store: store(bucket, s3, base)?, prefix: prefix.to_owned() })
    }

    /// Puts a file there as a whole: whoever reads sees it or does not. Durable when this returns.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), TargetError> {
        match self {
            Self::Folder(folder) => {
                on_disk(folder, name, move |root, path| write(root, path, &bytes)).await
            }
            Self::Bucket { store, prefix } => {
                let put = store.put(&key(prefix, name), PutPayload::from(bytes)).await;
                put.map(drop).map_err(|source| TargetError::Bucket { doing: "put", source })
            }
        }
    }

    /// Puts a file there if none has its name; of many who do so at once, one does. Whether this one did.
    pub(crate) async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, TargetError> {
        match self {
            Self::Folder(folder) => {
                on_disk(folder, name, move |root, path| create(root, path, &bytes)).await
            }
            Self::Bucket { store, prefix } => {
                let (key, bytes) = (key(prefix, name), PutPayload::from(bytes));
                match store.put_opts(&key, bytes.clone(), PutMode::Create.into()).await {
                    Ok(_) => Ok(true),
                    Err(Error::AlreadyExists { .. }) => Ok(false),
                    // It knows of no conditions: whoever puts it last has it, and all of them look again.
                    Err(error) if status(&error.to_string()) == Some(NOT_IMPLEMENTED) => {
                        let put = store.put(&key, bytes).await;
                        put.map(|_| true)
                            .map_err(|source| TargetError::Bucket { doing: "put", source })
                    }
                    Err(source) => Err(TargetError::Bucket { doing: "put", source }),
                }
            }
        }
    }

    /// What is there; `None` in a place that is, and has no such file.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, TargetError> {
        match self {
            Self::Folder(folder) => {
                let read = |_: &Path, path: &Path| match fs::read(path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                };
                on_disk(folder, name, read).await
            }
            Self::Bucket { store, prefix } => {
                let key = key(prefix, name);
                let got = async { store.get(&key).await?.bytes().await };
                match got.await {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(Error::NotFound { .. }) => Ok(None),
                    Err(source) => Err(TargetError::Bucket { doing: "get", source }),
                }
            }
        }
    }

    /// Removes a file, for good when this returns; one that is not there does no harm.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), TargetError> {
        match self {
            Self::Folder(folder) => on_disk(folder, name, |_, path| unlink(path)).await,
            Self::Bucket { store, prefix } => {
                let removed = store.delete(&key(prefix, name)).await;
                match removed {
                    Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                    Err(source) => Err(TargetError::Bucket { doing: "delete", source }),
                }
            }
        }
    }
}

/// Does something to the file `name` of `folder`, which must be there: one that is missing is on a disk
/// that is not mounted, and made again it would be on this one.
async fn on_disk<T: Send + 'static>(
    folder: &Path,
    name: &str,
    work: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
) -> Result<T, TargetError> {
    let (root, path) = (folder.to_owned(), folder.join(name));
    let done = tokio::task::spawn_blocking(move || {
        if !root.is_dir() {
            return Err(TargetError::NoFolder(root));
        }
        work(&root, &path).map_err(|source| TargetError::Folder { path, source })
    });
    done.await.unwrap_or(Err(TargetError::Gone))
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

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(root);
    make(root, parent)?;
    let scratch = path.with_added_extension("new");
    let mut file = fs::File::create(&scratch)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&scratch, path)?;
    fs::File::open(parent)?.sync_all()
}

/// A link to a whole file is made or not: nobody sees a part of it, and nobody's is replaced.
fn create(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(root);
    make(root, parent)?;
    // Another's is another file: each has its own content.
    let digest = Sha256::digest(bytes);
    let named = digest.iter().take(8).fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    let scratch = path.with_added_extension(named);
    let mut file = fs::File::create(&scratch)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    let linked = fs::hard_link(&scratch, path);
    fs::remove_file(&scratch)?;
    match linked {
        Ok(()) => fs::File::open(parent)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `folder` below `root`, each name on the way durable.
fn make(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    make(root, parent)?;
    match fs::create_dir(folder) {
        // Another file's way goes there, too.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(parent)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_not_made() {
        let home = tempfile::tempdir().unwrap();
        let (root, missing) = (home.path().to_owned(), home.path().join("disk"));
        let target = Target::Folder(missing.clone());
        for failed in [target.put("a/b", vec![1]).await, target.get("a").await.map(drop)] {
            assert!(matches!(failed, Err(TargetError::NoFolder(path)) if path == missing));
        }
        assert!(!missing.exists());
        let target = Target::Folder(root);
        target.put("tile/0/x001/002", vec![1]).await.unwrap();
        assert_eq!(target.get("tile/0/x001/002").await.unwrap(), Some(vec![1]));
        assert!(!target.create("tile/0/x001/002", vec![2]).await.unwrap(), "it is there");
        assert_eq!(target.get("tile/0/x001/002").await.unwrap(), Some(vec![1]));
        target.remove("tile/0/x001/002").await.unwrap();
        assert_eq!(target.get("tile/0/x001/002").await.unwrap(), None);
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_who_create_a_file_at_once_one_does() {
        let home = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let name = format!("copy/{round}");
            let creating = (0..8_u8).map(|n| {
                let target = Target::Folder(home.path().to_owned());
                let name = name.clone();
                tokio::spawn(async move { target.create(&name, vec![n; 64]).await.unwrap() })
            });
            let creating: Vec<_> = creating.collect();
            let mut created = Vec::new();
            for (n, one) in (0..8_u8).zip(creating) {
                created.extend(one.await.unwrap().then_some(n));
            }
            let there = std::fs::read(home.path().join(&name)).unwrap();
            assert_eq!((created.len(), there), (1, vec![created[0]; 64]));
        }
        assert_eq!(std::fs::read_dir(home.path().join("copy")).unwrap().count(), 20);
    }
}
