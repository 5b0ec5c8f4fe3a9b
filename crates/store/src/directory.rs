//! The directory, as an identity provider keeps it here by SCIM (RFC 7643).

use std::collections::BTreeSet;

use jiff::Timestamp;
use portcullis_model::{DirectoryId, Principal, PrincipalId};
use serde::{Deserialize, Serialize};

/// Somebody with an account at the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUser {
    /// Ours.
    pub id: DirectoryId,
    /// Theirs, as they write it; unique whatever its case.
    pub user_name: String,
    /// The provider's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Who that is when they sign in, if it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// What to call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `name.formatted`, `name.givenName` and `name.familyName`.
    #[serde(default)]
    pub name: StoredName,
    /// Their addresses, in lower case; the first is what they are linked by.
    #[serde(default)]
    pub emails: Vec<StoredEmail>,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether the provider deleted them.
    #[serde(default)]
    pub deleted: bool,
    /// Grows with every change.
    pub version: u32,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they last changed.
    pub changed_at: Timestamp,
}

/// The parts of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredName {
    /// All of it, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    /// The given name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// The family name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEmail {
    /// The address, in lower case.
    pub value: String,
    /// `work`, `home`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it is the one to use.
    #[serde(default)]
    pub primary: bool,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGroup {
    /// Ours.
    pub id: DirectoryId,
    /// Its name: the name of the group in policies.
    pub name: String,
    /// The provider's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Who is in it.
    pub members: BTreeSet<DirectoryId>,
    /// Grows with every change.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// A principal, and when it was last seen to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPrincipal {
    /// It, as its provider said then.
    pub principal: Principal,
    /// When.
    pub at: Timestamp,
}

impl SeenPrincipal {
    /// Where it stands among all.
    pub fn place(&self) -> SeenPlace {
        SeenPlace { at: self.at, id: self.principal.id.to_string() }
    }
}

/// A place in the list of those seen: by time, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenPlace {
    /// When.
    pub at: Timestamp,
    /// Who, as written.
    pub id: String,
}

impl StoredUser {
    /// What to show people.
    pub fn shown_name(&self) -> Option<&str> {
        self.display_name.as_deref().or(self.name.formatted.as_deref())
    }

    /// The address that links them, if they have one.
    pub fn email(&self) -> Option<&str> {
        let primary = self.emails.iter().find(|email| email.primary);
        primary.or_else(|| self.emails.first()).map(|email| email.value.as_str())
    }

    /// What two users must not share.
    pub fn folded_name(&self) -> String {
        self.user_name.to_lowercase()
    }
}
