//! The directory, in memory: who is in it, and what that makes of a principal.
//!
//! The store is the truth; this follows it under the publisher's lock, so that a principal which
//! arrives at any moment gets the groups that the directory has for it then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_model::{DirectoryId, Group, Principal, PrincipalId, PrincipalKind};
use portcullis_store::{StoredGroup, StoredUser};

/// Users, groups, and how they are found.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    users: BTreeMap<DirectoryId, StoredUser>,
    groups: BTreeMap<DirectoryId, StoredGroup>,
    by_principal: HashMap<PrincipalId, DirectoryId>,
    by_email: HashMap<String, DirectoryId>,
    groups_of: HashMap<DirectoryId, BTreeSet<DirectoryId>>,
}

/// Whom a change concerns.
#[derive(Debug, Default)]
pub(crate) struct Concerned {
    principals: BTreeSet<PrincipalId>,
    emails: BTreeSet<String>,
}

impl Concerned {
    pub(crate) fn concerns(&self, principal: &Principal) -> bool {
        self.principals.contains(&principal.id)
            || principal.email.as_ref().is_some_and(|email| self.emails.contains(email))
    }

    fn add(&mut self, user: &StoredUser) {
        self.principals.extend(user.principal.clone());
        self.emails.extend(user.email().map(str::to_owned));
    }
}

impl Directory {
    pub(crate) fn put_user(&mut self, user: StoredUser) -> Concerned {
        let mut concerned = Concerned::default();
        if let Some(before) = self.users.remove(&user.id) {
            concerned.add(&before);
            self.unindex(&before);
        }
        concerned.add(&user);
        if let Some(principal) = &user.principal {
            self.by_principal.insert(principal.clone(), user.id);
        }
        if let Some(email) = user.email() {
            self.by_email.insert(email.to_owned(), user.id);
        }
        self.users.insert(user.id, user);
        concerned
    }

    fn unindex(&mut self, user: &StoredUser) {
        // Somebody else may have taken the name over.
        if let Some(principal) = &user.principal
            && self.by_principal.get(principal) == Some(&user.id)
        {
            self.by_principal.remove(principal);
        }
        if let Some(email) = user.email()
            && self.by_email.get(email) == Some(&user.id)
        {
            self.by_email.remove(email);
        }
    }

    pub(crate) fn put_group(&mut self, group: StoredGroup) -> Concerned {
        let mut concerned = self.remove_group(group.id);
        for member in &group.members {
            self.groups_of.entry(*member).or_default().insert(group.id);
            if let Some(user) = self.users.get(member) {
                concerned.add(user);
            }
        }
        self.groups.insert(group.id, group);
        concerned
    }

    pub(crate) fn remove_group(&mut self, id: DirectoryId) -> Concerned {
        let mut concerned = Concerned::default();
        for member in self.groups.remove(&id).map(|group| group.members).unwrap_or_default() {
            if let Some(groups) = self.groups_of.get_mut(&member) {
                groups.remove(&id);
            }
            if let Some(user) = self.users.get(&member) {
                concerned.add(user);
            }
        }
        concerned
    }

    /// The user behind `principal`: by name, else by verified address.
    pub(crate) fn user_of(&self, principal: &Principal) -> Option<&StoredUser> {
        if principal.id.kind != PrincipalKind::User {
            return None;
        }
        let by_email = || self.by_email.get(principal.email.as_deref()?);
        let id = self.by_principal.get(&principal.id).or_else(by_email)?;
        self.users.get(id)
    }

    /// Whether the directory says that `principal` must not sign in.
    pub(crate) fn bars(&self, principal: &Principal) -> bool {
        self.user_of(principal).is_some_and(|user| !user.active || user.deleted)
    }

    /// `principal` with the groups that the directory has for it. Of somebody in the directory, the
    /// provider's token says nothing about groups: it is older.
    pub(crate) fn as_known(&self, principal: &Principal) -> Principal {
        let Some(user) = self.user_of(principal) else { return principal.clone() };
        let groups =
            if user.active && !user.deleted { self.names(user.id) } else { BTreeSet::new() };
        Principal { groups, ..principal.clone() }
    }

    fn names(&self, user: DirectoryId) -> BTreeSet<Group> {
        self.groups_of(user).map(|group| group.name.as_str().into()).collect()
    }

    /// The groups of a user.
    pub(crate) fn groups_of(&self, user: DirectoryId) -> impl Iterator<Item = &StoredGroup> {
        let ids = self.groups_of.get(&user).into_iter().flatten();
        ids.filter_map(|id| self.groups.get(id))
    }

    /// A user who was not deleted.
    pub(crate) fn user(&self, id: DirectoryId) -> Option<&StoredUser> {
        self.users.get(&id).filter(|user| !user.deleted)
    }

    /// All users who were not deleted.
    pub(crate) fn users(&self) -> impl Iterator<Item = &StoredUser> {
        self.users.values().filter(|user| !user.deleted)
    }

    pub(crate) fn group(&self, id: DirectoryId) -> Option<&StoredGroup> {
        self.groups.get(&id)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &StoredGroup> {
        self.groups.values()
    }
}
