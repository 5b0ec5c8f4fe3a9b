//! One service, and a workload that may read there: what most abuse is thrown at.

use std::time::Duration;

use crate::{
    house::{House, Plan},
    wire::{Response, Wire},
};

pub(crate) const HOST: &str = "shop.example.com";

/// `readers` read, `writers` write, nobody else does anything.
const POLICIES: &str = r#"
@id("readers")
permit (principal is Workload in Group::"readers", action in Action::"shop.read", resource == Service::"shop");

@id("writers")
permit (principal is Workload in Group::"writers", action in Action::"shop.write", resource == Service::"shop");
"#;

/// A running house with the shop in it.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) house: House,
    /// May read and may not write.
    pub(crate) token: String,
}

impl Shop {
    /// The shop whose upstream is at `url`.
    pub(crate) fn before(url: &str) -> Self {
        Self::furnished(url, |plan| plan)
    }

    /// The same, with whatever `furnish` adds to the plan.
    pub(crate) fn furnished(url: &str, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let shop = Self::furnished_unready(url, furnish);
        shop.house.wait_ready();
        shop
    }

    /// The same, without waiting until it is ready.
    pub(crate) fn furnished_unready(url: &str, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        Self::unready_with(&format!("{{instances: {{s-1: \"{url}\"}}}}"), furnish)
    }

    /// The shop with this under `upstream`, in one line.
    pub(crate) fn with(upstream: &str) -> Self {
        let shop = Self::unready_with(upstream, |plan| plan);
        shop.house.wait_ready();
        shop
    }

    /// The same, with whatever `furnish` adds to the plan, and without waiting.
    pub(crate) fn unready_with(upstream: &str, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let service = format!("name: shop\nhosts: [{HOST}]\nupstream: {upstream}");
        let plan = Plan::empty().service(&service).policy("shop.cedar", POLICIES);
        let house = furnish(plan).start_unready();
        let token = house.workload_token("reader", &["readers"]);
        Self { house, token }
    }

    /// May read and write.
    pub(crate) fn writer(&self) -> String {
        self.house.workload_token("writer", &["readers", "writers"])
    }

    /// The head of a request, whole but for its empty line.
    pub(crate) fn head(&self, method: &str, target: &str) -> String {
        let token = &self.token;
        format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n")
    }

    /// A request that reads, as whoever holds `token`.
    pub(crate) fn read_as(&self, token: &str) -> Response {
        self.house.gate(HOST, "GET", "/page", Some(token), None)
    }

    /// Sends `bytes` on one connection and returns all that is answered to them, until the gate closes
    /// or says nothing more for a second; it may take its time for the first.
    pub(crate) fn answers(&self, bytes: impl AsRef<[u8]>) -> Vec<Response> {
        let mut wire = Wire::connect(self.house.gate);
        wire.send(bytes);
        let first = wire.response();
        wire.patience(Duration::from_secs(1));
        first.into_iter().chain(std::iter::from_fn(|| wire.response())).collect()
    }
}
