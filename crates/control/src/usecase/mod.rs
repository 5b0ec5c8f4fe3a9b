//! One file per use case. All doors (API, gate, background tasks) go through these functions.

pub(crate) mod access_requests;
pub(crate) mod ask;
pub(crate) mod authenticate;
pub(crate) mod bundles;
pub(crate) mod connections;
pub(crate) mod consume;
pub(crate) mod device;
pub(crate) mod directory;
pub(crate) mod explain;
pub(crate) mod grants;
pub(crate) mod issue;
pub(crate) mod once;
pub(crate) mod origins;
pub(crate) mod parting;
pub(crate) mod passkeys;
pub(crate) mod principals;
pub(crate) mod record;
pub(crate) mod refusals;
pub(crate) mod review;
mod review_passkey;
pub(crate) mod runs;
pub(crate) mod services;
pub(crate) mod sign_in;
pub(crate) mod text;
