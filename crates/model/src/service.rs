//! Services, instances and operations: what an access query is about.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A text that cannot name what it should name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct InvalidName {
    /// The offending text.
    pub text: String,
    /// What was expected, in words.
    pub what: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $valid:path, $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same name in memory of its own: threads that clone one and the same hold each other up.
            #[must_use]
            pub fn detached(&self) -> Self {
                Self(Arc::from(&*self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { text: text.to_owned(), what: $what })
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )+};
}

pub(crate) use names;

names! {
    /// A service: `payments`. Lower-case letters, digits and single hyphens inside, so that it can be a DNS
    /// label and `payments--p-2` can address an instance.
    ServiceName: is_label, "a service name: lower-case letters, digits and single hyphens";
    /// An instance of a service: `p-2`.
    InstanceName: is_label, "an instance name: lower-case letters, digits and single hyphens";
    /// An operation with its service: `payments.createRefund`. It is the id of its Cedar action.
    OperationName: is_operation, "an operation: SERVICE.OPERATION";
    /// A class of sensitive data: `pci`.
    ClassName: is_label, "a class of data: lower-case letters, digits and single hyphens";
    /// A policy's id: its `@id`.
    PolicyId: is_policy_id, "a policy id";
}

const ALL: &str = "*";
const REVEAL: &str = "reveal:";

impl OperationName {
    /// To see a class of data of `service`, `payments.reveal:pci`: what a grant to see it is about. No
    /// operation of a service has such a name.
    pub fn reveal(service: &ServiceName, class: &ClassName) -> Self {
        Self(format!("{service}.{REVEAL}{class}").into())
    }

    /// The class of data, if it is about seeing one.
    pub fn revealed(&self) -> Option<&str> {
        self.local().strip_prefix(REVEAL)
    }

    /// The service that the operation belongs to.
    pub fn service(&self) -> &str {
        self.0.split_once('.').map_or("", |(service, _)| service)
    }

    /// The operation's own name, without its service.
    pub fn local(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, local)| local)
    }

    /// All operations of `service` at once, `payments.*`: what an emergency is about. No single
    /// operation has this name.
    pub fn all_of(service: &ServiceName) -> Self {
        Self(format!("{service}.{ALL}").into())
    }

    /// Whether it stands for all operations of its service.
    pub fn is_all(&self) -> bool {
        self.local() == ALL
    }

    /// Whether it is `other`, or stands for it among all of its service.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || (self.is_all() && self.service() == other.service())
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

fn is_operation(text: &str) -> bool {
    text.split_once('.').is_some_and(|(service, local)| {
        is_label(service) && !local.is_empty() && local.len() <= 200 && local.chars().all(printable)
    })
}

fn is_policy_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.chars().all(printable)
}

fn printable(c: char) -> bool {
    !c.is_control() && !c.is_whitespace()
}

/// What an access query acts on: a service, or one addressed instance of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// The service.
    pub service: ServiceName,
    /// The instance that the caller named, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}/{instance}", self.service),
            None => fmt::Display::fmt(&self.service, f),
        }
    }
}

/// A bundle's name: `sha256:` and 64 hexadecimal digits over its whole content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BundleDigest(pub Arc<str>);

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
