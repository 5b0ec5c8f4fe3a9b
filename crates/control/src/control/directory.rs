//! Who there is: the directory, and everybody seen.

use std::net::IpAddr;

use portcullis_model::{DirectoryId, PrincipalId};

use super::{Control, Result};
use crate::{
    GroupAttributes, OpContext, UserAttributes,
    usecase::{directory, principals},
    views::{DirectoryUser, KnownAs, PrincipalView, StoredGroup, StoredUser},
};

#[expect(clippy::unused_async, reason = "every use case is awaited, whether or not it waits today")]
impl Control {
    /// The context of the identity provider that keeps the directory, if `bearer` is its token.
    pub async fn provisioning(&self, bearer: Option<&str>, source: IpAddr) -> Result<OpContext> {
        directory::context(&self.core, bearer, source)
    }

    /// A user of the directory. This and what follows is for [`Control::provisioning`]'s context.
    pub async fn directory_user(&self, _op: &OpContext, id: DirectoryId) -> Result<DirectoryUser> {
        directory::user(&self.core, id)
    }

    /// All users of the directory.
    pub async fn directory_users(&self, _op: &OpContext) -> Vec<DirectoryUser> {
        directory::users(&self.core)
    }

    /// Makes a user, or changes the one that was seen.
    pub async fn put_directory_user(
        &self,
        op: &OpContext,
        seen: Option<&StoredUser>,
        attributes: UserAttributes,
    ) -> Result<DirectoryUser> {
        directory::put_user(&self.core, op, seen, attributes).await
    }

    /// Deletes a user, who must not sign in from now on.
    pub async fn delete_directory_user(&self, op: &OpContext, id: DirectoryId) -> Result<()> {
        directory::delete_user(&self.core, op, id).await
    }

    /// A group of the directory.
    pub async fn directory_group(&self, _op: &OpContext, id: DirectoryId) -> Result<StoredGroup> {
        directory::group(&self.core, id)
    }

    /// All groups of the directory.
    pub async fn directory_groups(&self, _op: &OpContext) -> Vec<StoredGroup> {
        directory::groups(&self.core)
    }

    /// Makes a group, or changes the one that was seen.
    pub async fn put_directory_group(
        &self,
        op: &OpContext,
        seen: Option<&StoredGroup>,
        attributes: GroupAttributes,
    ) -> Result<StoredGroup> {
        directory::put_group(&self.core, op, seen, attributes).await
    }

    /// Deletes a group.
    pub async fn delete_directory_group(&self, op: &OpContext, id: DirectoryId) -> Result<()> {
        directory::delete_group(&self.core, op, id).await
    }

    /// A part of everybody seen, the last seen first: those with `name` in their name or id, and the cursor of the
    /// next part. Takes `viewAudit` or the right to review something; without `viewAudit` or `administer` it has the
    /// grants that the caller could review, or revoke.
    pub async fn people(
        &self,
        op: &OpContext,
        name: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<PrincipalView>, Option<String>)> {
        principals::part(&self.core, op, name, cursor, limit).await
    }

    /// One of them by id; takes the same.
    pub async fn person(&self, op: &OpContext, id: &str) -> Result<PrincipalView> {
        principals::one(&self.core, op, id).await
    }

    /// What a principal is called that the caller has been shown.
    pub fn known_as(&self, _op: &OpContext, principal: &PrincipalId) -> KnownAs {
        principals::known_as(&self.core, principal)
    }
}
