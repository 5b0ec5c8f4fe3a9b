//! `/v1/services`: what the caller may use, and what they may ask for.

use axum::{
    Json,
    extract::{Path, State},
};
use portcullis_control::views::{OperationView, Reach, ServiceView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::named,
    parts::{Shared, Standing},
    way::{self, WayBody},
};

/// One service, for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Service)]
pub struct ServiceBody {
    /// Its name.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its instances.
    pub instances: Vec<String>,
    /// How each of its instances is, those that discovery found among them; only for who may use the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Vec<InstanceBody>>,
    /// Its operations.
    pub operations: Vec<OperationBody>,
    /// Its sensitive data, by class: masked, unless policy lets the caller see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<DataClassBody>,
}

/// A class of sensitive data, for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DataClass)]
pub struct DataClassBody {
    /// Its name.
    pub class: String,
    /// What to ask for to see it.
    pub operation: String,
    /// Whether the caller sees it, as far as can be told without a request.
    pub reach: ReachBody,
    /// What would reveal it, if that can be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<WayBody>,
    /// Where policy shows it without asking: the gate checks this with each request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

/// How one instance is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Instance)]
pub struct InstanceBody {
    /// Its name.
    pub name: String,
    /// The zone that it is in, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether it gets requests.
    pub health: HealthBody,
}

/// Whether an instance gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Health)]
pub enum HealthBody {
    /// It does.
    Up,
    /// Health checks say that it is not well.
    Unwell,
    /// It is left out for a while, as requests to it failed.
    Ejected,
}

/// One operation, for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationBody {
    /// Its name, with its service.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub group: String,
    /// What the caller can do with it, as far as can be told without the request itself.
    pub reach: ReachBody,
    /// What would open it, if it can be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<WayBody>,
}

/// Whether an operation can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Reach)]
pub enum ReachBody {
    /// Standing policy or a grant permits it.
    Open,
    /// It can be asked for.
    Requestable,
    /// Of data: policy shows it under conditions, which the gate checks with each request.
    Conditional,
    /// None of these.
    Closed,
}

/// The services that the caller can see.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Services)]
pub struct ServicesBody {
    /// By name.
    pub services: Vec<ServiceBody>,
}

impl From<OperationView> for OperationBody {
    fn from(view: OperationView) -> Self {
        let (reach, ways) = match view.reach {
            Reach::Open => (ReachBody::Open, Vec::new()),
            Reach::Requestable(ways) => (ReachBody::Requestable, way::all(ways)),
            Reach::Conditional(_) => (ReachBody::Conditional, Vec::new()),
            Reach::Closed => (ReachBody::Closed, Vec::new()),
        };
        Self { name: view.name.to_string(), group: view.group.to_owned(), reach, ways }
    }
}

impl From<OperationView> for DataClassBody {
    fn from(view: OperationView) -> Self {
        let class = view.name.revealed().unwrap_or_default().to_owned();
        let conditions = match &view.reach {
            Reach::Conditional(conditions) => conditions.clone(),
            Reach::Open | Reach::Requestable(_) | Reach::Closed => Vec::new(),
        };
        let OperationBody { name, reach, ways, .. } = view.into();
        Self { class, operation: name, reach, ways, conditions }
    }
}

impl ServiceBody {
    /// Who may only ask for a service learns nothing of how it is.
    fn new(view: ServiceView, standing: &Standing) -> Self {
        let uses = view.operations.iter().any(|operation| matches!(operation.reach, Reach::Open));
        Self {
            health: uses.then(|| standing(&view.name)),
            name: view.name.to_string(),
            hosts: view.hosts,
            instances: view.instances.iter().map(ToString::to_string).collect(),
            operations: view.operations.into_iter().map(OperationBody::from).collect(),
            sensitive: view.classes.into_iter().map(DataClassBody::from).collect(),
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(services)).routes(routes!(service))
}

/// The services that I can see
#[utoipa::path(get, path = "/v1/services", tag = "services", responses((status = 200, body = ServicesBody)))]
pub(crate) async fn services(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<ServicesBody>> {
    let services = api.control.services(&op).await?;
    let services = services.into_iter().map(|view| ServiceBody::new(view, &api.standing));
    Ok(Json(ServicesBody { services: services.collect() }))
}

/// One service
#[utoipa::path(get, path = "/v1/services/{name}", tag = "services", params(("name" = String, Path)),
    responses((status = 200, body = ServiceBody)))]
pub(crate) async fn service(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(name): Path<String>,
) -> Answer<Json<ServiceBody>> {
    let name = named(&name, "the service")?;
    let view = api.control.service(&op, &name).await?;
    Ok(Json(ServiceBody::new(view, &api.standing)))
}
