//! Objects in a bucket, one for each checkpoint, and one more that is the newest: whoever looks for it finds it
//! without a list. It is read back and compared before anything is added, so that a second log under the same
//! name is found there, too.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use portcullis_log::{Anchored, Keys, Reader};

use super::Trouble;
use crate::{
    config::{S3, ShipTo},
    ship::target::Target,
};

const NEWEST: &str = "newest";

/// One place in a bucket.
#[derive(Debug)]
pub(super) struct AnchorBucket {
    target: Arc<Target>,
}

impl AnchorBucket {
    pub(super) fn open(to: &ShipTo, access: &S3, base: &Path) -> Result<Self> {
        let target = match to {
            ShipTo::Bucket { bucket, prefix } => Target::bucket(bucket, prefix, access, base),
            ShipTo::Folder(_) => anyhow::bail!("anchors in a folder are a file"),
        };
        let target =
            target.context("checkpoints cannot be put into the bucket of `audit.anchors`")?;
        Ok(Self { target: Arc::new(target) })
    }

    /// The newest checkpoint that is there.
    pub(super) async fn newest(&self) -> Result<Option<Anchored>, Trouble> {
        let there = self.target.get(NEWEST).await;
        let there = there.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let Some(there) = there else { return Ok(None) };
        let read = std::str::from_utf8(&there).ok().and_then(Anchored::new);
        let none = || Trouble::Unreachable(format!("`{NEWEST}` in the bucket is no checkpoint"));
        read.map(Some).ok_or_else(none)
    }

    /// Compares, and puts the newest checkpoint there if it is newer; the size that the place has then.
    pub(super) async fn bring(&self, reader: &Reader, keys: &Keys) -> Result<u64, Trouble> {
        let held = self.newest().await?;
        let has = held.as_ref().map_or(0, |held| held.size);
        let (reader, keys) = (reader.clone(), keys.clone());
        let compared = tokio::task::spawn_blocking(move || {
            if let Some(held) = &held {
                reader.still_holds(&held.checkpoint, &keys)?;
            }
            // What is not signed, or not of the tiles that are there, is not anchored.
            reader.signed_checkpoint(&keys)
        });
        let compared = compared.await.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let next = compared?.as_deref().and_then(Anchored::new);
        let Some(next) = next.filter(|next| next.size > has) else { return Ok(has) };
        for name in [format!("{:020}", next.size), NEWEST.to_owned()] {
            let put = self.target.put(&name, next.checkpoint.clone().into_bytes()).await;
            put.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        }
        Ok(next.size)
    }
}
