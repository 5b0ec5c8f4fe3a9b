//! Access requests: asked once, answered by people or by policy, over exactly once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccessRequestId, GrantId, IncidentId, InstanceName, OperationName, PasskeyId, PersonId,
    PrincipalId, RefusalId, RequestId, ReviewId, ServiceName, Way, Window,
};

/// One thing asked for, and the way that was taken to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessQuery {
    /// The operation.
    pub operation: OperationName,
    /// One addressed instance, or the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// The only request that the grant shall admit: `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
    /// The way that was taken.
    pub way: Way,
}

impl AccessQuery {
    /// Whether both ask for the very same, by the same rule and for the same incident: one grant is
    /// enough.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.instance == other.instance
            && self.digest == other.digest
            && self.way.rule == other.way.rule
            && self.way.incident == other.way.incident
    }
}

/// What a reviewer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Yes.
    Approve,
    /// No; one is enough.
    Decline,
}

impl Decision {
    /// For people: "… by lea".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Approve => "approved by",
            Self::Decline => "declined by",
        }
    }
}

/// What of an access request a reviewer agrees to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Only these operations; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<BTreeSet<OperationName>>,
    /// Only on this instance; wherever was asked for if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
}

impl Scope {
    /// Whether it is all of it.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// What of `query` it lets through.
    pub fn narrow(&self, query: AccessQuery) -> Option<AccessQuery> {
        let named = |names: &BTreeSet<_>| names.contains(&query.operation);
        if !self.operations.as_ref().is_none_or(named) {
            return None;
        }
        match (&self.instance, &query.instance) {
            (Some(only), Some(asked)) if only != asked => None,
            (Some(only), None) => Some(AccessQuery { instance: Some(only.clone()), ..query }),
            (Some(_) | None, _) => Some(query),
        }
    }
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// Who, as a principal.
    pub reviewer: PrincipalId,
    /// Who, as a human being: this is what counts.
    pub person: PersonId,
    /// The reviewer's name at that time.
    pub name: String,
    /// Yes or no.
    pub decision: Decision,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A shorter window than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Window>,
    /// Less than was asked for.
    #[serde(default, skip_serializing_if = "Scope::is_whole")]
    pub scope: Scope,
    /// When.
    pub at: Timestamp,
    /// From where: the right to review may depend on it, also when it is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The passkey that signed it, if one did; the signature is in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<PasskeyId>,
    /// Whether it came by chat: who gave it was vouched for by nobody but the chat's server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chat: bool,
}

/// Where an access request is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AccessRequestState {
    /// Waits for reviewers.
    Pending,
    /// Its grants are issued.
    Approved {
        /// When.
        at: Timestamp,
        /// One per query.
        grants: Vec<GrantId>,
    },
    /// A reviewer said no, or policy no longer allows it.
    Declined {
        /// When.
        at: Timestamp,
        /// Who or what, in words.
        why: String,
    },
    /// The requester took it back, or is gone.
    Withdrawn {
        /// When.
        at: Timestamp,
        /// Why, if it was not the requester.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Nobody answered in time.
    Expired {
        /// When.
        at: Timestamp,
    },
}

impl AccessRequestState {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Declined { .. } => "declined",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Expired { .. } => "expired",
        }
    }
}

/// A transition that the state does not allow, or a review that may not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// It is over.
    #[error("the access request is {0} already")]
    NotPending(&'static str),
    /// Nobody reviews their own access request.
    #[error("nobody reviews their own access request")]
    OwnRequest,
    /// One person counts once.
    #[error("you have reviewed this access request already")]
    ReviewedAlready,
    /// All approvals together agree on nothing.
    #[error("nothing would be left of what all reviewers approve; approve more of it, or decline")]
    NothingLeft,
    /// Its time is up.
    #[error("the access request expired")]
    Expired,
    /// It is no emergency that waits to be looked at.
    #[error("this emergency is reviewed already")]
    NothingToReview,
    /// A quorum is missing.
    #[error("{given} of {needed} reviews are given")]
    NotEnoughReviews {
        /// Approvals so far.
        given: usize,
        /// Approvals needed.
        needed: u8,
    },
}

/// The request that waits at the gate for an answer, as reviewers see it: nothing of its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its id.
    pub request: RequestId,
    /// Method and path.
    pub summary: String,
    /// Declared parameters by name, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Bytes of its body.
    pub size: u64,
    /// It is refused then.
    pub until: Timestamp,
}

/// A person or workload asks for access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// Its id.
    pub id: AccessRequestId,
    /// Who asks.
    pub requester: PrincipalId,
    /// The human being who asks; workloads have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// The requester's name at that time.
    pub requester_name: String,
    /// The one service that all queries are about.
    pub service: ServiceName,
    /// What is asked for; never empty.
    pub queries: Vec<AccessQuery>,
    /// Why.
    pub reason: String,
    /// For how long, from approval; at most what the ways allow.
    pub duration: Window,
    /// The refusal that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalId>,
    /// The grant whose end it shall move; without one, new grants come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// The request that waits at the gate for it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<Held>>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it goes unanswered.
    pub expires_at: Timestamp,
    /// The answers so far.
    pub reviews: Vec<Review>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: AccessRequestState,
}

impl AccessRequest {
    /// The reviews needed: the largest number that any of its ways asks for.
    pub fn reviews_needed(&self) -> u8 {
        self.queries.iter().map(|query| query.way.reviews).max().unwrap_or(1)
    }

    /// The incident that it names, if one of its ways is for one.
    pub fn incident(&self) -> Option<&IncidentId> {
        self.queries.iter().find_map(|query| query.way.incident.as_ref())
    }

    /// Whether it was an emergency: granted at once, reviewed afterwards.
    pub fn is_emergency(&self) -> bool {
        self.queries.iter().any(|query| query.way.is_emergency())
    }

    /// Whether it was an emergency that nobody has reviewed since: an open item.
    pub fn waits_for_review_afterwards(&self) -> bool {
        let granted = matches!(self.state, AccessRequestState::Approved { .. });
        granted && self.is_emergency() && self.reviews.is_empty()
    }

    /// Distinct people who approved.
    pub fn approvals(&self) -> usize {
        let people: BTreeSet<_> = self
            .reviews
            .iter()
            .filter(|review| review.decision == Decision::Approve)
            .map(|review| review.person)
            .collect();
        people.len()
    }

    /// Whether enough people approved.
    pub fn has_quorum(&self) -> bool {
        self.approvals() >= usize::from(self.reviews_needed())
    }

    /// The window that all approvals agree on.
    pub fn agreed_duration(&self) -> Window {
        let shortened = self.reviews.iter().filter_map(|review| review.duration);
        shortened.fold(self.duration, std::cmp::Ord::min)
    }

    /// What all approvals agree on.
    pub fn agreed_queries(&self) -> Vec<AccessQuery> {
        let approvals = || self.reviews.iter().filter(|given| given.decision == Decision::Approve);
        let narrowed = |query: &AccessQuery| {
            approvals().try_fold(query.clone(), |query, review| review.scope.narrow(query))
        };
        let mut agreed: Vec<AccessQuery> = Vec::new();
        // Two instances of one operation may have become the same one.
        for query in self.queries.iter().filter_map(narrowed) {
            if !agreed.iter().any(|other| other.asks_the_same(&query)) {
                agreed.push(query);
            }
        }
        agreed
    }

    /// Adds one person's answer. A decline ends it.
    pub fn review(mut self, review: Review) -> Result<Self, InvalidTransition> {
        self.pending_at(review.at)?;
        if self.requester == review.reviewer || self.person == Some(review.person) {
            return Err(InvalidTransition::OwnRequest);
        }
        if self.reviews.iter().any(|earlier| earlier.person == review.person) {
            return Err(InvalidTransition::ReviewedAlready);
        }
        if review.decision == Decision::Decline {
            let why = match &review.note {
                Some(note) => format!("{}: {note}", review.name),
                None => review.name.clone(),
            };
            self.state = AccessRequestState::Declined { at: review.at, why };
        }
        self.reviews.push(review);
        if self.agreed_queries().is_empty() {
            return Err(InvalidTransition::NothingLeft);
        }
        Ok(self)
    }

    /// Adds what one person found about an emergency afterwards. It opens nothing, and closes the open
    /// item.
    pub fn review_afterwards(mut self, review: Review) -> Result<Self, InvalidTransition> {
        if !self.waits_for_review_afterwards() {
            return Err(InvalidTransition::NothingToReview);
        }
        if self.requester == review.reviewer || self.person == Some(review.person) {
            return Err(InvalidTransition::OwnRequest);
        }
        self.reviews.push(review);
        Ok(self)
    }

    /// Ends in grants; needs the quorum.
    pub fn approve(self, at: Timestamp, grants: Vec<GrantId>) -> Result<Self, InvalidTransition> {
        self.pending_at(at)?;
        if !self.has_quorum() {
            let (given, needed) = (self.approvals(), self.reviews_needed());
            return Err(InvalidTransition::NotEnoughReviews { given, needed });
        }
        Ok(Self { state: AccessRequestState::Approved { at, grants }, ..self })
    }

    /// Ends without grants because policy no longer allows it.
    pub fn decline_by_policy(self, at: Timestamp, why: String) -> Result<Self, InvalidTransition> {
        self.pending()?;
        Ok(Self { state: AccessRequestState::Declined { at, why }, ..self })
    }

    /// The requester takes it back.
    pub fn withdraw(self, at: Timestamp) -> Result<Self, InvalidTransition> {
        self.pending()?;
        Ok(Self { state: AccessRequestState::Withdrawn { at, why: None }, ..self })
    }

    /// The requester is gone, or the request that waited for it: nobody could use an answer.
    pub fn abandon(self, at: Timestamp, why: String) -> Result<Self, InvalidTransition> {
        self.pending()?;
        Ok(Self { state: AccessRequestState::Withdrawn { at, why: Some(why) }, ..self })
    }

    /// Nobody answered in time.
    pub fn expire(self, at: Timestamp) -> Result<Self, InvalidTransition> {
        self.pending()?;
        Ok(Self { state: AccessRequestState::Expired { at }, ..self })
    }

    fn pending(&self) -> Result<(), InvalidTransition> {
        match &self.state {
            AccessRequestState::Pending => Ok(()),
            over => Err(InvalidTransition::NotPending(over.as_str())),
        }
    }

    fn pending_at(&self, now: Timestamp) -> Result<(), InvalidTransition> {
        self.pending()?;
        if now < self.expires_at { Ok(()) } else { Err(InvalidTransition::Expired) }
    }
}
