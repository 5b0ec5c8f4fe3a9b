//! `/scim/v2`: an identity provider keeps users and groups here (RFC 7643, RFC 7644).
//!
//! Takes the provider's own token and no other credential. Errors have SCIM's shape, not that of
//! problems. What is not supported is said so: no bulk, no sorting, filters with one `eq`.

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use portcullis_control::{ControlError, OpContext};
use portcullis_identity::AuthError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    caller::{Source, bearer},
    error::ApiError,
    parts::Shared,
};

mod discovery;
mod filter;
mod groups;
mod patch;
mod read;
mod search;
mod users;

/// Longer than the API's: a group of some ten thousand members is put as a whole.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
const LARGEST_PAGE: usize = 500;
const DEFAULT_PAGE: usize = 100;

pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(users::routes())
        .merge(groups::routes())
        .merge(search::routes())
        .merge(discovery::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

/// What is not there, in SCIM's shape.
pub(crate) async fn nothing() -> ScimError {
    ApiError::NoSuchPath.into()
}

/// A resource, or a message, of SCIM.
#[derive(Debug)]
pub(crate) struct Scim(pub(crate) StatusCode, pub(crate) Value);

/// Why there is none.
#[derive(Debug)]
pub(crate) enum ScimError {
    /// The API's reasons, in SCIM's shape.
    Api(ApiError),
    /// A request that SCIM has a word for (RFC 7644, 3.12).
    Bad { kind: &'static str, detail: String },
}

pub(crate) type Answer<T> = Result<T, ScimError>;

/// Whoever presents the provider's token.
#[derive(Debug)]
pub(crate) struct Provisioner(pub(crate) OpContext);

/// A body, read by SCIM's own rules.
#[derive(Debug)]
pub(crate) struct Message(pub(crate) Map<String, Value>);

/// Which part of a list (RFC 7644, 3.4.2).
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// `userName eq "ana"`.
    pub(crate) filter: Option<String>,
    /// The first one, counted from 1.
    pub(crate) start_index: Option<i64>,
    /// At most so many.
    pub(crate) count: Option<i64>,
    /// The only attributes to answer with, besides those that are always there.
    pub(crate) attributes: Option<String>,
    /// Attributes to leave out, such as `members`.
    pub(crate) excluded_attributes: Option<String>,
}

impl ListQuery {
    /// `resource` with the attributes that are wanted (RFC 7644, 3.9). Of a part, the whole is meant.
    pub(crate) fn cut(&self, mut resource: Value) -> Value {
        let names = |listed: &Option<String>| {
            let listed = listed.as_deref().unwrap_or_default().split(',');
            let name = |text: &str| {
                let text = text.trim().rsplit(':').next().unwrap_or_default();
                text.split('.').next().unwrap_or_default().to_ascii_lowercase()
            };
            listed.map(name).filter(|name| !name.is_empty()).collect::<Vec<_>>()
        };
        let (only, without) = (names(&self.attributes), names(&self.excluded_attributes));
        if let Some(attributes) = resource.as_object_mut() {
            attributes.retain(|name, _| {
                let lower = name.to_ascii_lowercase();
                ["schemas", "id"].contains(&name.as_str())
                    || (only.is_empty() || only.contains(&lower)) && !without.contains(&lower)
            });
        }
        resource
    }
}

impl FromRequestParts<Shared> for Provisioner {
    type Rejection = ScimError;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Answer<Self> {
        let Source(source) = Source::from_request_parts(parts, api).await?;
        Ok(Self(api.control.provisioning(bearer(&parts.headers)?, source).await?))
    }
}

impl<S: Send + Sync> FromRequest<S> for Message {
    type Rejection = ScimError;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        // `application/scim+json` and `application/json` (RFC 7644, 3.1).
        let read = Json::<Value>::from_request(request, state).await;
        match read {
            Ok(Json(Value::Object(message))) => Ok(Self(message)),
            Ok(_) => Err(bad("invalidSyntax", "the body must be an object")),
            Err(error) => Err(bad("invalidSyntax", error.body_text())),
        }
    }
}

impl From<ApiError> for ScimError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<ControlError> for ScimError {
    fn from(error: ControlError) -> Self {
        Self::Api(error.into())
    }
}

impl IntoResponse for Scim {
    fn into_response(self) -> Response {
        let Self(status, body) = self;
        let location = body.pointer("/meta/location").and_then(Value::as_str);
        let location = location.and_then(|url| HeaderValue::from_str(url).ok());
        let kind = HeaderValue::from_static("application/scim+json");
        let mut response =
            (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response();
        if let Some(location) = location.filter(|_| status == StatusCode::CREATED) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let (kind, detail, answer) = match self {
            Self::Bad { kind, detail } => {
                (Some(kind), detail, StatusCode::BAD_REQUEST.into_response())
            }
            Self::Api(error) => {
                let kind = match &error {
                    ApiError::Control(ControlError::Conflict(_)) => Some("uniqueness"),
                    ApiError::Control(ControlError::Invalid { .. }) => Some("invalidValue"),
                    _ => None,
                };
                let detail = said(&error);
                (kind, detail, error.into_response())
            }
        };
        let status = answer.status();
        let mut body = json!({
            "schemas": [ERROR], "status": status.as_u16().to_string(), "detail": detail,
        });
        if let (Some(kind), Some(body)) = (kind, body.as_object_mut()) {
            body.insert("scimType".to_owned(), kind.into());
        }
        let mut response = Scim(status, body).into_response();
        let kept = [header::WWW_AUTHENTICATE, header::RETRY_AFTER];
        for name in kept {
            if let Some(value) = answer.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// What may be said of an error outside; the rest is in the log.
fn said(error: &ApiError) -> String {
    match error {
        ApiError::Control(ControlError::Internal(_)) | ApiError::NoSource => {
            "something went wrong on the server; its log says what".to_owned()
        }
        ApiError::Control(ControlError::Unauthenticated(AuthError::Missing)) => {
            "send the token that is configured as `identity.scim.token`".to_owned()
        }
        other => other.to_string(),
    }
}

pub(crate) fn bad(kind: &'static str, detail: impl Into<String>) -> ScimError {
    ScimError::Bad { kind, detail: detail.into() }
}

/// Tries again what somebody else changed between the look and the commit. A name that is taken stays
/// so, and is the answer in the end.
pub(crate) async fn retried<T, F>(mut attempt: impl FnMut() -> F) -> Answer<T>
where
    F: Future<Output = Answer<Result<T, ControlError>>>,
{
    const ROUNDS: usize = 8;
    let mut round = 1;
    loop {
        match attempt().await? {
            Ok(done) => return Ok(done),
            Err(ControlError::Conflict(_)) if round < ROUNDS => round += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A part of a list, in the order in which its resources were made.
pub(crate) fn list(query: &ListQuery, mut all: Vec<Value>) -> Scim {
    let total = all.len();
    let start = usize::try_from(query.start_index.unwrap_or(1)).unwrap_or(1).max(1);
    let count = query.count.map_or(DEFAULT_PAGE, |count| usize::try_from(count).unwrap_or(0));
    let page = all.drain(..).skip(start - 1).take(count.min(LARGEST_PAGE));
    let page: Vec<_> = page.map(|one| query.cut(one)).collect();
    let body = json!({
        "schemas": [LIST], "totalResults": total, "startIndex": start,
        "itemsPerPage": page.len(), "Resources": page,
    });
    Scim(StatusCode::OK, body)
}

/// `meta` of a resource (RFC 7643, 3.1).
pub(crate) fn meta(
    base_url: &str,
    kind: &str,
    id: &str,
    created: jiff::Timestamp,
    changed: jiff::Timestamp,
    version: u32,
) -> Value {
    json!({
        "resourceType": kind, "created": created, "lastModified": changed,
        "location": format!("{base_url}/scim/v2/{kind}s/{id}"),
        "version": format!("W/\"{version}\""),
    })
}
