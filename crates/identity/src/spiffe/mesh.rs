//! How the workloads of a trust domain are named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_model::{AttributeValue, Group, Origin, Principal, PrincipalId, PrincipalKind};
use serde_json::{Map, Value};

use super::{SpiffeId, TrustDomain};
use crate::{claims, rules::Rule};

/// The workloads of one trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Its name in configuration: the first half of its principals' names.
    pub name: String,
    /// The trust domain.
    pub domain: TrustDomain,
    /// Groups by `path` or `spiffe_id`, compared letter by letter.
    pub groups: Vec<Rule>,
}

impl Mesh {
    /// The attribute of a workload that holds its whole SPIFFE ID.
    pub const ATTRIBUTE: &str = "spiffe_id";
    /// What rules for groups may ask for.
    pub const CLAIMS: [&str; 2] = ["path", Self::ATTRIBUTE];

    /// The principal called `id`: `Workload::"<name>:<path>"`.
    pub(crate) fn principal(&self, id: &SpiffeId) -> Arc<Principal> {
        let whole = id.to_string();
        let said = [("path", id.path()), (Self::ATTRIBUTE, whole.as_str())];
        let said: Map<String, Value> =
            said.into_iter().map(|(claim, text)| (claim.to_owned(), Value::from(text))).collect();
        let groups: BTreeSet<Group> = claims::granted_by(&self.groups, &said);
        let attribute = (Self::ATTRIBUTE.to_owned(), AttributeValue::String(whole));
        Arc::new(Principal {
            id: PrincipalId::new(PrincipalKind::Workload, &self.name, id.path()),
            person: None,
            name: id.path().to_owned(),
            email: None,
            groups,
            amr: BTreeSet::new(),
            issuer: self.name.clone(),
            claims: BTreeMap::from([attribute]),
        })
    }

    /// Where what is known of `principal` came from.
    pub(crate) fn origin(&self, principal: &Principal) -> Origin {
        let from = || format!("the rules of `{}`", self.name);
        Origin {
            issuer: self.name.clone(),
            subject: "the SPIFFE ID".to_owned(),
            groups: principal.groups.iter().map(|group| (group.clone(), from())).collect(),
        }
    }
}
