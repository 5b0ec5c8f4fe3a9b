//! Asks one instance again and again whether it is well.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Method, Request, header};
use portcullis_policy::upstream::HealthCheck;

use super::{Connectors, Endpoint, Kind, Sent, Turn, address, service::Service};
use crate::body::{UpBody, Whole};

/// Never ends by itself.
pub(super) async fn watch(
    service: Arc<Service>,
    at: usize,
    endpoint: Rc<Endpoint>,
    check: HealthCheck,
    connectors: Rc<Connectors>,
) {
    let (mut good, mut bad) = (0_u32, 0_u32);
    loop {
        let asking = is_well(&endpoint, &check, &connectors);
        let well = tokio::time::timeout(check.timeout.get(), asking).await.unwrap_or(false);
        (good, bad) = if well { (good.saturating_add(1), 0) } else { (0, bad.saturating_add(1)) };
        if good >= check.healthy_after {
            service.checked(at, true);
        } else if bad >= check.unhealthy_after {
            service.checked(at, false);
        }
        tokio::time::sleep(check.interval.get()).await;
    }
}

async fn is_well(endpoint: &Rc<Endpoint>, check: &HealthCheck, connectors: &Connectors) -> bool {
    let Some(path) = &check.path else { return address::dial(endpoint).await.is_ok() };
    let Ok(sender) = connectors.connect(endpoint, Kind::Fresh, None).await else { return false };
    let mut lane = Turn::new(endpoint).new_lane(sender);
    let (Ok(target), Ok(authority)) =
        (path.parse(), HeaderValue::from_str(&endpoint.place().authority))
    else {
        return false;
    };
    let mut request = Request::new(UpBody::Whole(Whole::new(bytes::Bytes::new(), None)));
    *request.method_mut() = Method::GET;
    let agent = HeaderValue::from_static("portcullis-health");
    request.headers_mut().insert(header::USER_AGENT, agent);
    lane.address(&mut request, target, &authority);
    match lane.send(request).await {
        Sent::Answered(response) => {
            let (lowest, highest) = check.status;
            (lowest..=highest).contains(&response.status().as_u16())
        }
        Sent::Unsent(_) | Sent::Broken(_) => false,
    }
}
