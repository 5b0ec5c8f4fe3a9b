//! Provisioning: an identity provider keeps users and groups here, by SCIM.
//!
//! Whoever is deactivated loses their sign-ins and grants in the same transaction, under whatever
//! names they have, nobody is asked to review for them any more, and the store itself refuses them
//! new ones. Groups of the directory take effect
//! on live connections as any change of a principal does.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use portcullis_identity::AuthError;
use portcullis_model::{DirectoryId, EventType, PrincipalId, PrincipalKind, SignInEnd, TokenHash};
use portcullis_store::{Change, StoredEmail, StoredGroup, StoredName, StoredUser};

use super::{parting, sign_in};
use crate::{
    ControlError, OpContext,
    core::{Core, Provisioning, ScimSubject},
    publisher::Effect,
    settle::{Settlement, Unsettled},
    views::DirectoryUser,
};

const NO_USER: ControlError = ControlError::NotFound("the user");
const NO_GROUP: ControlError = ControlError::NotFound("the group");
const LONGEST: usize = 256;
const DEACTIVATED: &str = "the requester is deactivated";

type Result<T> = std::result::Result<T, ControlError>;

/// What a provider says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAttributes {
    /// `userName`.
    pub user_name: String,
    /// `externalId`.
    pub external_id: Option<String>,
    /// `displayName`.
    pub display_name: Option<String>,
    /// `name`.
    pub name: StoredName,
    /// `emails`.
    pub emails: Vec<StoredEmail>,
    /// `active`.
    pub active: bool,
}

/// What a provider says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupAttributes {
    /// `displayName`.
    pub name: String,
    /// `externalId`.
    pub external_id: Option<String>,
    /// `members`.
    pub members: BTreeSet<DirectoryId>,
}

/// The context of whoever presents the provider's token. Without configuration there is nothing here.
pub(crate) fn context(core: &Core, bearer: Option<&str>, source: IpAddr) -> Result<OpContext> {
    let presented = TokenHash::of(bearer.ok_or(AuthError::Missing)?);
    // Whoever has no token of ours does not learn here whether there is one.
    let none = AuthError::Bad("SCIM is not configured, or this is not its token");
    let provisioning = core.settings.provisioning.as_ref().ok_or(none.clone())?;
    if !same(&presented.0, &provisioning.token.0) {
        return Err(none.into());
    }
    Ok(OpContext::provisioning(source, core.now()))
}

fn settings(core: &Core) -> Result<&Provisioning> {
    let none = ControlError::NotFound("SCIM, which is not configured,");
    core.settings.provisioning.as_ref().ok_or(none)
}

/// Compares in a time that says nothing about where the two differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

pub(crate) fn user(core: &Core, id: DirectoryId) -> Result<DirectoryUser> {
    let found = core.publisher.directory(|directory| {
        let user = directory.user(id)?.clone();
        let groups = directory.groups_of(id).map(|group| (group.id, group.name.clone())).collect();
        Some(DirectoryUser { user, groups })
    });
    found.ok_or(NO_USER)
}

pub(crate) fn users(core: &Core) -> Vec<DirectoryUser> {
    core.publisher.directory(|directory| {
        let each = directory.users().map(|user| DirectoryUser {
            user: user.clone(),
            groups: directory
                .groups_of(user.id)
                .map(|group| (group.id, group.name.clone()))
                .collect(),
        });
        each.collect()
    })
}

pub(crate) fn group(core: &Core, id: DirectoryId) -> Result<StoredGroup> {
    core.publisher.directory(|directory| directory.group(id).cloned()).ok_or(NO_GROUP)
}

pub(crate) fn groups(core: &Core) -> Vec<StoredGroup> {
    core.publisher.directory(|directory| directory.groups().cloned().collect())
}

/// Makes a user, or changes the one that was seen at `seen`'s version.
pub(crate) async fn put_user(
    core: &Arc<Core>,
    op: &OpContext,
    seen: Option<&StoredUser>,
    attributes: UserAttributes,
) -> Result<DirectoryUser> {
    let attributes = checked(attributes)?;
    let user = stored(core, op, seen, attributes)?;
    let what = match (seen.map(|seen| seen.active), user.active) {
        (None, true) => "user_created",
        (None | Some(true), false) => "user_deactivated",
        (Some(false), true) => "user_activated",
        (Some(_), _) => "user_changed",
    };
    settle_user(core, op, &user, what).await?;
    self::user(core, user.id)
}

/// Deletes a user: from now on somebody who must not sign in.
pub(crate) async fn delete_user(core: &Arc<Core>, op: &OpContext, id: DirectoryId) -> Result<()> {
    for _ in 0..parting::ROUNDS {
        let user = user(core, id)?.user;
        let version = user.version + 1;
        let gone =
            StoredUser { active: false, deleted: true, version, changed_at: op.now(), ..user };
        match settle_user(core, op, &gone, "user_deleted").await {
            Err(ControlError::Conflict(_)) => {}
            other => return other,
        }
    }
    Err(Unsettled::Conflict.into())
}

fn stored(
    core: &Core,
    op: &OpContext,
    seen: Option<&StoredUser>,
    attributes: UserAttributes,
) -> Result<StoredUser> {
    let principal = principal(settings(core)?, &attributes);
    let UserAttributes { user_name, external_id, display_name, name, emails, active } = attributes;
    Ok(StoredUser {
        id: seen.map_or_else(|| DirectoryId::new(op.now(), core.entropy.as_ref()), |seen| seen.id),
        user_name,
        external_id,
        principal,
        display_name,
        name,
        emails,
        active,
        deleted: false,
        version: seen.map_or(0, |seen| seen.version + 1),
        created_at: seen.map_or(op.now(), |seen| seen.created_at),
        changed_at: op.now(),
    })
}

/// Who that is when they sign in.
fn principal(settings: &Provisioning, user: &UserAttributes) -> Option<PrincipalId> {
    let subject = match settings.subject {
        ScimSubject::ExternalId => user.external_id.as_deref()?,
        ScimSubject::UserName => &user.user_name,
    };
    Some(PrincipalId::new(PrincipalKind::User, &settings.provider, subject))
}

/// Commits a user; if they must not sign in, with the end of all that they have.
async fn settle_user(
    core: &Arc<Core>,
    op: &OpContext,
    user: &StoredUser,
    what: &'static str,
) -> Result<()> {
    for _ in 0..parting::ROUNDS {
        let mut event = core.event(op, EventType::DirectoryChanged);
        event.decision = Some(what.into());
        event.principal.clone_from(&user.principal);
        event.detail = Some(user.user_name.clone());
        let mut settlement = Settlement::default();
        settlement.changes.push(Change::PutUser(user.clone()));
        settlement.changes.push(Change::Record(event));
        if user.active {
            settlement.once_recorded.push(Effect::User(user.clone()));
        } else {
            settlement.at_once.push(Effect::User(user.clone()));
            end_everything(core, op, user, &mut settlement).await?;
        }
        match core.settle(settlement).await {
            Ok(()) if user.active => return Ok(()),
            Ok(()) => return end_the_rest(core, op, user).await,
            Err(Unsettled::Conflict) if is_stale(core, user).await? => {
                let why = format!("`{}` is taken, or has changed meanwhile", user.user_name);
                return Err(ControlError::Conflict(why));
            }
            // Somebody spent a use, reviewed or signed out just then.
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(ControlError::Unavailable("they are too busy to be stopped; ask again".into()))
}

/// Whether it is the user itself that the store has otherwise.
async fn is_stale(core: &Core, user: &StoredUser) -> Result<bool> {
    let all = core.store.directory_users().await?;
    let kept = all.iter().find(|kept| kept.id == user.id);
    let taken = |kept: &&StoredUser| {
        kept.id != user.id && !kept.deleted && kept.folded_name() == user.folded_name()
    };
    let version = kept.map(|kept| (kept.version + 1, kept.deleted));
    let expected = (user.version > 0).then_some((user.version, false));
    Ok(version != expected || all.iter().any(|kept| taken(&kept)))
}

/// A sign-in or access request that was committed between the look and the commit: no further one can come.
async fn end_the_rest(core: &Arc<Core>, op: &OpContext, user: &StoredUser) -> Result<()> {
    for _ in 0..parting::ROUNDS {
        let mut settlement = Settlement::default();
        end_everything(core, op, user, &mut settlement).await?;
        if settlement.changes.is_empty() {
            return Ok(());
        }
        match core.settle(settlement).await {
            Ok(()) | Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(ControlError::Unavailable("they are too busy to be stopped; ask again".into()))
}

/// Adds the end of every sign-in, grant and access request of the human being behind `user`.
async fn end_everything(
    core: &Core,
    op: &OpContext,
    user: &StoredUser,
    into: &mut Settlement,
) -> Result<()> {
    let names = names_of(core, user).await?;
    for stored in core.store.sign_ins().await? {
        let sign_in = stored.sign_in;
        if sign_in.parent.is_none() && names.contains(&sign_in.principal) {
            sign_in::ending(core, op, &sign_in, SignInEnd::Deactivated, into);
        }
    }
    for name in &names {
        parting::end_all(core, op, name, DEACTIVATED, into).await?;
    }
    Ok(())
}

/// All principals of the human being behind `user`.
async fn names_of(core: &Core, user: &StoredUser) -> Result<BTreeSet<PrincipalId>> {
    let all = core.store.principals().await?;
    let own = |principal: &&portcullis_model::Principal| {
        Some(&principal.id) == user.principal.as_ref()
            || principal.email.is_some() && principal.email.as_deref() == user.email()
    };
    let people: BTreeSet<_> = all.iter().filter(own).filter_map(|own| own.person).collect();
    let same = |principal: &&portcullis_model::Principal| {
        principal.person.is_some_and(|person| people.contains(&person))
    };
    let names = all.iter().filter(|one| own(one) || same(one)).map(|one| one.id.clone());
    Ok(names.chain(user.principal.clone()).collect())
}

/// Makes a group, or changes the one that was seen.
pub(crate) async fn put_group(
    core: &Arc<Core>,
    op: &OpContext,
    seen: Option<&StoredGroup>,
    attributes: GroupAttributes,
) -> Result<StoredGroup> {
    settings(core)?;
    let GroupAttributes { name, external_id, members } = attributes;
    let name = short("displayName", &name)?;
    let unknown = core.publisher.directory(|directory| {
        members.iter().find(|member| directory.user(**member).is_none()).copied()
    });
    if let Some(unknown) = unknown {
        let message = format!("there is no user `{unknown}`");
        return Err(ControlError::Invalid { field: "members", message });
    }
    let group = StoredGroup {
        id: seen.map_or_else(|| DirectoryId::new(op.now(), core.entropy.as_ref()), |seen| seen.id),
        name,
        external_id,
        members,
        version: seen.map_or(0, |seen| seen.version + 1),
        created_at: seen.map_or(op.now(), |seen| seen.created_at),
        changed_at: op.now(),
    };
    let what = if seen.is_some() { "group_changed" } else { "group_created" };
    let mut settlement = Settlement::default();
    settlement.changes.push(Change::PutGroup(group.clone()));
    settlement.changes.push(Change::Record(changed(core, op, &group, what)));
    // What closes something does not wait for the record; what opens something does.
    let kept = seen.map(|seen| remaining(seen, &group));
    if kept.as_ref() == Some(&group) {
        settlement.at_once.push(Effect::Group(group.clone()));
    } else {
        settlement.at_once.extend(kept.map(Effect::Group));
        settlement.once_recorded.push(Effect::Group(group.clone()));
    }
    match core.settle(settlement).await {
        Ok(()) => self::group(core, group.id),
        Err(Unsettled::Conflict) => {
            let why = format!("`{}` is taken, or has changed meanwhile", group.name);
            Err(ControlError::Conflict(why))
        }
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// The new group with only those who were in the old one under the same name.
fn remaining(seen: &StoredGroup, new: &StoredGroup) -> StoredGroup {
    let members = if seen.name == new.name {
        seen.members.intersection(&new.members).copied().collect()
    } else {
        BTreeSet::new()
    };
    StoredGroup { members, ..new.clone() }
}

pub(crate) async fn delete_group(core: &Arc<Core>, op: &OpContext, id: DirectoryId) -> Result<()> {
    let group = group(core, id)?;
    let changes =
        vec![Change::RemoveGroup(id), Change::Record(changed(core, op, &group, "group_deleted"))];
    let at_once = vec![Effect::NoGroup(id)];
    let settled = core.settle(Settlement { changes, at_once, ..Settlement::default() }).await;
    settled.map_err(|error| match error {
        Unsettled::Conflict => NO_GROUP,
        Unsettled::Failed(error) => error,
    })
}

fn changed(
    core: &Core,
    op: &OpContext,
    group: &StoredGroup,
    what: &'static str,
) -> portcullis_model::Event {
    let mut event = core.event(op, EventType::DirectoryChanged);
    event.decision = Some(what.into());
    event.detail = Some(format!("{} with {} members", group.name, group.members.len()));
    event
}

fn checked(mut user: UserAttributes) -> Result<UserAttributes> {
    user.user_name = short("userName", &user.user_name)?;
    for (field, text) in
        [("externalId", &mut user.external_id), ("displayName", &mut user.display_name)]
    {
        *text = text.take().map(|text| short(field, &text)).transpose()?;
    }
    for email in &mut user.emails {
        let plain = short("emails", &email.value)?.to_ascii_lowercase();
        if !plain.contains('@') {
            let message = format!("`{plain}` is no e-mail address");
            return Err(ControlError::Invalid { field: "emails", message });
        }
        email.value = plain;
    }
    Ok(user)
}

/// Text that names something: not empty, not long, nothing that a terminal would obey.
fn short(field: &'static str, text: &str) -> Result<String> {
    let text = super::text::checked(field, text)?;
    if text.chars().count() > LONGEST {
        let message = format!("is longer than {LONGEST} characters");
        return Err(ControlError::Invalid { field, message });
    }
    Ok(text)
}
