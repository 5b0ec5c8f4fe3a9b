//! Local endpoints: tools that know nothing of us, at addresses of their own machine.

mod access;
mod door;
mod imitations;
mod tools;

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::net::{free_port, wait_for_port};
use serde_json::Value;

use crate::{
    house::{House, Plan},
    people::Person,
    streams::{Peer, python},
    upstream::Upstream,
    wire::{Response, exchange},
};

const POLICIES: &str = r#"
@id("staff")
permit (principal is User in Group::"staff", action in [
    Action::"grpc.Unary", Action::"grpc.ServerStream", Action::"grpc.ClientStream", Action::"grpc.Bidi",
    Action::"ws.GET", Action::"shop.GET", Action::"shop.POST"
], resource);

@id("shop.delete") @reviews("0") @max_duration("15s")
permit (principal is User in Group::"staff", action == Action::"shop.DELETE", resource == Service::"shop")
when { context has grant };

@id("shop.put") @reviews("1") @max_duration("10m")
permit (principal is User in Group::"staff", action == Action::"shop.PUT", resource == Service::"shop")
when { context has grant };

@id("leads")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest);

@id("grpc.forbidden") @reviews("1") @max_duration("10m")
permit (principal is User in Group::"staff", action == Action::"grpc.Forbidden", resource == Service::"grpc")
when { context has grant };
"#;

const METHODS: &str = "operations:\n  inline:\n    Unary: POST /echo.Echo/Unary\n    ServerStream: POST /echo.Echo/ServerStream\n    \
                       ClientStream: POST /echo.Echo/ClientStream\n    Bidi: POST /echo.Echo/Bidi\n    Forbidden: POST /echo.Echo/Forbidden";

/// A house with a shop, and whatever else tools speak to; ana may use most of it.
struct Tools {
    house: House,
    upstream: Upstream,
    control: String,
    _servers: Vec<Peer>,
}

fn ana() -> Person {
    Person::new("ana", &["staff"])
}

impl Tools {
    fn open() -> Self {
        Self::furnished(|plan| plan)
    }

    fn furnished(furnish: impl FnOnce(Plan) -> Plan) -> Self {
        Self::of(Upstream::start(), furnish)
    }

    /// With this shop.
    fn of(upstream: Upstream, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let (grpc, ws) = (free_port(), free_port());
        let servers = vec![
            python("grpc_peer.py", &["serve", &grpc.to_string()], Stdio::null()),
            python("websocket_peer.py", &["serve", &ws.to_string()], Stdio::null()),
        ];
        for port in [grpc, ws] {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert!(wait_for_port(address, Duration::from_secs(20)));
        }
        let service = |name: &str, url: String, more: &str| {
            format!(
                "name: {name}\nhosts: [{name}.example.com]\nupstream: {{instances: {{i-1: \"{url}\"}}}}\n{more}"
            )
        };
        let plan = Plan::empty()
            .service(&service("grpc", format!("h2c://127.0.0.1:{grpc}"), METHODS))
            .service(&service("ws", format!("http://127.0.0.1:{ws}"), ""))
            .service(&service("shop", upstream.url(), ""))
            .policy("tools.cedar", POLICIES);
        let house = furnish(plan).start();
        let control = house.sign_in(&ana());
        house.profile("ana", &control);
        Self { house, upstream, control, _servers: servers }
    }

    /// How many sign-ins for single services ana has.
    fn sign_ins(&self) -> usize {
        let own = self.house.api("GET", "/v1/sign-ins", Some(&self.control), None).json();
        let all = own["sign_ins"].as_array().unwrap();
        all.iter().filter(|one| one["service"] != Value::Null).count()
    }
}

/// What curl prints with these arguments.
fn curl(arguments: &[&str]) -> String {
    let output =
        Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A request with these lines of its head, and no body.
fn raw(address: SocketAddr, method: &str, headers: &str) -> Response {
    let head = format!("{method} /page HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    exchange(address, head)
}
