//! Changes: what one transaction is made of.

use jiff::Timestamp;
use portcullis_model::{
    AccessRequest, DirectoryId, Event, Grant, GrantId, GrantToken, Incident, NoticeId,
    OneTimeToken, Passkey, PasskeyId, Principal, PrincipalId, RequestId, Schedule,
    SealedCredential, SealedId, SignInId, TokenHash,
};

use crate::{
    ChatChange, ContentChange, ExportChange, Person, RetentionChange, SealedMark, StoredAnswer,
    StoredBundle, StoredChallenge, StoredCode, StoredDevice, StoredGroup, StoredNotice,
    StoredProviderToken, StoredRefusal, StoredSignIn, StoredUser, UndeliveredChange,
};

/// One guarded change. If its guard does not hold, the whole transaction is a conflict.
#[derive(Debug, Clone)]
pub enum Change {
    /// A person, new or with another e-mail address.
    AddPerson(Person),
    /// A principal as last seen.
    SeePrincipal {
        /// Who.
        principal: Principal,
        /// When.
        at: Timestamp,
    },
    /// A principal that will not come again: that of a run. Guard: it is there, and has no sign-in.
    ForgetPrincipal(PrincipalId),
    /// A new sign-in. Guards: the one it was made from has not ended, and the directory does not say
    /// that its person must not sign in.
    AddSignIn(StoredSignIn),
    /// The end of a sign-in and of all that were made from it. Guard: it has not ended.
    EndSignIn(SignInId),
    /// A new device sign-in.
    AddDevice {
        /// The hash of our token.
        hash: TokenHash,
        /// What is known of it.
        device: StoredDevice,
    },
    /// The end of a device sign-in. Guard: it is there.
    EndDevice(TokenHash),
    /// A browser's sign-in was used.
    SeeSignIn {
        /// Which.
        id: SignInId,
        /// When.
        at: Timestamp,
    },
    /// A new code that a gate can exchange for a sign-in.
    AddCode {
        /// The hash of the code.
        hash: TokenHash,
        /// What it stands for.
        code: StoredCode,
    },
    /// The end of a code. Guard: it is there.
    EndCode(TokenHash),
    /// Something that may come once only. Guard: it has not come yet.
    SeeOnce {
        /// Names it.
        hash: TokenHash,
        /// It is worth nothing by itself from then on.
        until: Timestamp,
    },
    /// What the identity provider is asked with again about a sign-in. Guard: it has not ended.
    KeepProviderToken(StoredProviderToken),
    /// A new access request. Guards: fewer than `at_most` of its requester wait, none of them asks
    /// for the same, and the directory does not bar the requester.
    AddAccessRequest {
        /// It.
        request: AccessRequest,
        /// The most that may wait.
        at_most: u32,
    },
    /// An access request as it is now. Guards: it is pending, and has as many reviews as were seen;
    /// a review that is new comes from somebody who has not reviewed.
    MoveAccessRequest {
        /// It, moved.
        request: AccessRequest,
        /// The reviews that it had before.
        seen_reviews: usize,
    },
    /// An emergency with the review that somebody gave afterwards. Guard: nobody has given one.
    ReviewAfterwards(AccessRequest),
    /// A new grant. Guard: if it is for an incident, that is open.
    AddGrant(Grant),
    /// A new grant that policy approved by itself. Guard: its principal holds none in force for the
    /// same, under the same rule.
    AddGrantOnce(Grant),
    /// A grant as it is now; its tokens end with it. Guards: it is in force, and of the version seen.
    MoveGrant {
        /// It, moved.
        grant: Grant,
        /// The version before.
        seen_version: u32,
    },
    /// A grant that ends unused was used.
    SeeGrant {
        /// Which.
        id: GrantId,
        /// When.
        at: Timestamp,
    },
    /// Who is to be told of an access request.
    Notice(NoticeChange),
    /// What a receiver did not take.
    Undelivered(Box<UndeliveredChange>),
    /// One use spent. Guard: not by this request already.
    SpendUse {
        /// Of which grant.
        grant: GrantId,
        /// On which request.
        request: RequestId,
        /// When.
        at: Timestamp,
    },
    /// Something about the tokens of a grant.
    Token(TokenChange),
    /// A refusal to be kept. Guards: the principal keeps fewer than `at_most`, and its code is free.
    KeepRefusal {
        /// It.
        refusal: StoredRefusal,
        /// The most that may be kept.
        at_most: u32,
    },
    /// An answer to a caller's own key. Guard: the key is free. Forgets older ones, and of this
    /// caller's all but the newest.
    KeepAnswer {
        /// It.
        answer: StoredAnswer,
        /// Answers of this time or earlier are forgotten first.
        forget_until: Timestamp,
    },
    /// A new passkey. Guards: its principal has fewer than `at_most`, and nobody has its credential.
    AddPasskey {
        /// It.
        passkey: Passkey,
        /// The most that its principal may have.
        at_most: u32,
    },
    /// A passkey that has signed. Guards: it is there, and its counter is the one that was seen.
    SpendPasskey {
        /// It, with its new counter.
        passkey: Passkey,
        /// The counter before.
        seen_counter: u32,
    },
    /// The end of a passkey. Guard: it is there, and its principal's.
    RemovePasskey {
        /// Which.
        id: PasskeyId,
        /// Whose.
        principal: PrincipalId,
    },
    /// A new challenge. Guard: nobody has the same. Forgets what lapsed until `now`, and of its
    /// principal's all but the newest.
    AddChallenge {
        /// The hash of the challenge.
        hash: TokenHash,
        /// What it is for.
        challenge: StoredChallenge,
        /// The time.
        now: Timestamp,
    },
    /// The end of a challenge. Guard: it is there, so that it is answered once.
    EndChallenge(TokenHash),
    /// Refusals kept before, and device sign-ins and challenges that lapsed before, are forgotten.
    Forget {
        /// Refusals of this time or earlier.
        refusals_until: Timestamp,
        /// Devices and challenges that lapsed at this time or earlier.
        devices_until: Timestamp,
    },
    /// An activation. Guard: its generation is new.
    AddBundle(StoredBundle),
    /// A CI job's token is exchanged. Guard: it has not been. Forgets those whose time is over.
    SpendJobToken {
        /// What makes it the same token.
        key: TokenHash,
        /// When it stops being accepted anyway.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// A user of the directory, new with version 0, or as it is now. Guards: its name is free; the
    /// version before is the one that was seen, and not deleted.
    PutUser(StoredUser),
    /// A group of the directory, with the same guards.
    PutGroup(StoredGroup),
    /// A group of the directory is gone. Guard: it is there.
    RemoveGroup(DirectoryId),
    /// A new incident. Guard: its id is free.
    AddIncident(Incident),
    /// An incident as it is now. Guards: of the version seen; one that is closed has no grant in
    /// force.
    MoveIncident {
        /// It, moved.
        incident: Incident,
        /// The version before.
        seen_version: u32,
    },
    /// A schedule, new with version 0, or as it is now. Guard: the version before is the one that was
    /// seen.
    PutSchedule(Schedule),
    /// Something about sealed credentials.
    Sealed(Box<SealedChange>),
    /// Something about readers of the record.
    Export(Box<ExportChange>),
    /// Something about what is kept of requests.
    Content(Box<ContentChange>),
    /// Something about messages in a chat.
    Chat(Box<ChatChange>),
    /// Something about what stays on record.
    Retention(Box<RetentionChange>),
    /// An event, to be moved to the log.
    Record(Event),
}

/// A guarded change of sealed credentials, or of what came of them.
#[derive(Debug, Clone)]
pub enum SealedChange {
    /// A new one. Guard: fewer than [`Self::MOST`] are not revoked.
    Propose(SealedCredential),
    /// One as it is now. Guards: of the state seen; whoever seals it did not propose it.
    Move {
        /// It, moved.
        credential: SealedCredential,
        /// The state before.
        seen_state: &'static str,
    },
    /// What an opening came to. Guard: it is not there yet.
    Open {
        /// The emergency, to be reviewed afterwards.
        request: Box<AccessRequest>,
        /// Its grant, in force or over.
        grant: Box<Grant>,
        /// The credential that was opened.
        credential: SealedId,
    },
    /// The sealed log is read up to `mark`. Guard: it was read up to `seen` before.
    Read {
        /// Up to where it was read before, if it was.
        seen: Option<SealedMark>,
        /// Up to where it is read now.
        mark: SealedMark,
    },
}

impl SealedChange {
    /// No more may be kept that are not revoked.
    pub const MOST: u32 = 1000;
}

/// A guarded change of a grant's tokens.
#[derive(Debug, Clone, Copy)]
pub enum TokenChange {
    /// A new one-time token. Guards: its grant is in force at `now`; fewer than `at_most` of its
    /// one-time tokens have not lapsed, and fewer than `at_most_ever` have not lapsed or were redeemed.
    AddOneTime {
        /// Its hash.
        hash: TokenHash,
        /// What it is for.
        token: OneTimeToken,
        /// The most that may be about to be redeemed, or were made as lately as that.
        at_most: u32,
        /// The most that may ever lead to a grant token.
        at_most_ever: u32,
        /// The time.
        now: Timestamp,
    },
    /// A one-time token is redeemed. Guards: it is there, has not been, and has not lapsed at `now`.
    RedeemOneTime {
        /// Its hash.
        hash: TokenHash,
        /// The time.
        now: Timestamp,
    },
    /// Somebody presented a one-time token after it was redeemed. Guard: the first time.
    NoteAgain(TokenHash),
    /// A new grant token. Guard: its grant is in force at `now`.
    AddGrantToken {
        /// Its hash; the token itself is nowhere.
        hash: TokenHash,
        /// What it opens.
        token: GrantToken,
        /// The time.
        now: Timestamp,
    },
}

/// A change of who is to be told of an access request.
#[derive(Debug, Clone)]
pub enum NoticeChange {
    /// Somebody to be told.
    Add(StoredNotice),
    /// Somebody who could not be told, and will be tried again. Guard: nobody else has tried since.
    Move {
        /// It, moved.
        notice: StoredNotice,
        /// The attempts before.
        seen_attempts: u32,
    },
    /// Somebody who was told, or need not be any more. Guard: it is there.
    End(NoticeId),
}
