//! Where addresses are.

use std::{fmt::Debug, net::IpAddr};

use portcullis_policy::Country;

/// There is no database, though a policy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no database says where addresses are")]
pub struct NoDatabase;

/// Knows in which country an address is.
pub trait Countries: Debug + Send + Sync {
    /// The country; `None` where the database does not say, as of private addresses.
    fn country(&self, ip: IpAddr) -> Result<Option<Country>, NoDatabase>;
}
