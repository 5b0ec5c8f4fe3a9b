//! Asks one instance again and again whether it is well.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Method, Request, header};
use portcullis_model::ServiceName;
use portcullis_policy::upstream::HealthCheck;

use super::{
    Connectors, Endpoint, Kind, Registry, Sent, Turn, address, connect::ConnectError,
    service::Instance,
};
use crate::body::{UpBody, Whole};

/// Ends when `instance` is in no list any more. Lists come and go meanwhile.
pub(super) async fn watch(
    registry: Arc<Registry>,
    service: ServiceName,
    instance: Arc<Instance>,
    check: HealthCheck,
    connectors: Rc<Connectors>,
) {
    let (mut good, mut bad) = (0_u32, 0_u32);
    loop {
        let place = registry.place_of(&service, &instance);
        let endpoint = place.and_then(|(service, at)| Endpoint::new(&service, at, usize::MAX));
        let Some(endpoint) = endpoint.map(Rc::new) else { return };
        let asking = is_well(&endpoint, &check, &connectors);
        let well = tokio::time::timeout(check.timeout.get(), asking).await.unwrap_or(Some(false));
        drop(endpoint);
        if let Some(well) = well {
            (good, bad) =
                if well { (good.saturating_add(1), 0) } else { (0, bad.saturating_add(1)) };
        }
        if let Some((service, at)) = registry.place_of(&service, &instance) {
            if good >= check.healthy_after {
                service.checked(at, true);
            } else if bad >= check.unhealthy_after {
                service.checked(at, false);
            }
        }
        tokio::time::sleep(check.interval.get()).await;
    }
}

/// `None`: it could not be asked, and that says nothing about it.
async fn is_well(
    endpoint: &Rc<Endpoint>,
    check: &HealthCheck,
    connectors: &Connectors,
) -> Option<bool> {
    let Some(path) = &check.path else { return Some(address::dial(endpoint).await.is_ok()) };
    let sender = match connectors.connect(endpoint, Kind::Fresh, None).await {
        Ok(sender) => sender,
        Err(ConnectError::Certificates(_)) => return None,
        Err(_) => return Some(false),
    };
    let mut lane = Turn::new(endpoint).new_lane(sender);
    let (Ok(target), Ok(authority)) =
        (path.parse(), HeaderValue::from_str(&endpoint.place().authority))
    else {
        return Some(false);
    };
    let mut request = Request::new(UpBody::Whole(Whole::new(bytes::Bytes::new(), None)));
    *request.method_mut() = Method::GET;
    let agent = HeaderValue::from_static("portcullis-health");
    request.headers_mut().insert(header::USER_AGENT, agent);
    lane.address(&mut request, target, &authority);
    Some(match lane.send(request).await {
        Sent::Answered(response) => {
            let (lowest, highest) = check.status;
            (lowest..=highest).contains(&response.status().as_u16())
        }
        Sent::Unsent(_) | Sent::Broken(_) => false,
    })
}
