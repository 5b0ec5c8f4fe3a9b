//! The words of Portcullis: types, state machines and events.
//!
//! Nothing here does IO, awaits, reads a clock or draws randomness; what needs a time or random
//! bytes takes them as arguments. Every other crate speaks in these types.

pub mod access_request;
pub mod alert;
pub mod ambient;
pub mod attempt;
pub mod base64url;
pub mod content;
pub mod duration;
pub mod event;
pub mod event_filter;
pub mod fact;
pub mod grant;
pub mod grant_token;
pub mod id;
pub mod legal_hold;
pub mod mark;
pub mod misleading;
pub mod origin;
pub mod passkey;
pub mod principal;
pub mod problem;
pub mod refusal;
pub mod removal;
pub mod sealed;
pub mod secret;
pub mod service;
pub mod shown;
pub mod sign_in;
pub mod thumbprint;
pub mod trace;
pub mod way;

pub use access_request::{AccessQuery, AccessRequest, AccessRequestState, Decision, Review, Scope};
pub use alert::{AlertNote, Urgency};
pub use ambient::{Clock, Entropy};
pub use attempt::{Attempt, Outcome, RecordLevel, RefusalsCounted, Revealed};
pub use base64url::Base64Url;
pub use content::{
    ContentNote, ContentParts, ErasedNote, InvalidParts, KeptBody, KeptHeader, Opening,
    RequestContent,
};
pub use duration::Window;
pub use event::{BundleStamp, Event, EventType};
pub use event_filter::{EventFilter, Field, Leaf, NoWords, Words};
pub use fact::{
    Incident, IncidentId, IncidentSource, IncidentState, KeptElsewhere, Schedule, ScheduleName,
    Severity,
};
pub use grant::{Grant, GrantEnd, GrantKind, GrantState};
pub use grant_token::{BoundTo, GrantToken, OneTimeToken};
pub use id::{
    AccessRequestId, ConnectionId, DeliveryId, DirectoryId, EventId, GrantId, LegalHoldId,
    NoticeId, PasskeyId, PersonId, RefusalId, RequestId, ReviewId, SealedId, SignInId,
};
pub use legal_hold::{HoldRelease, HoldScope, LegalHold};
pub use mark::{REFUSAL_HEADER, RefusalMark};
pub use misleading::misleads;
pub use origin::{Origin, Run};
pub use passkey::{Passkey, PasskeyProof};
pub use principal::{AttributeValue, DECISIONS, Group, Principal, PrincipalId, PrincipalKind};
pub use problem::Problem;
pub use refusal::Refusal;
pub use removal::{RemovalNote, RemovedRange};
pub use sealed::{SealedCredential, SealedOpening, SealedState, SealedTerms};
pub use secret::{Secret, TokenHash, TokenKind};
pub use service::{
    BundleDigest, ClassName, InstanceName, InvalidName, OperationName, PolicyId, Resource,
    ServiceName,
};
pub use shown::ShownBody;
pub use sign_in::{Audience, Held, SignIn, SignInEnd};
pub use thumbprint::{InvalidThumbprint, Thumbprint};
pub use trace::{Span, SpanKind, SpanValue, TraceParent, Traces};
pub use way::Way;
