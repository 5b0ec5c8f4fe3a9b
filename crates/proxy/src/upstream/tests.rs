//! What becomes of instances and of their connections when configurations change.

use std::time::Duration;

use async_trait::async_trait;
use portcullis_model::Window;
use portcullis_policy::{
    edge::{Authorities, UpstreamTls},
    upstream::{DnsName, DnsSource, HealthCheck, UpstreamSource},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{discovery::Found, load::What, service::tests::source, *};

const TWO: [(&str, &str); 2] = [("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2")];

#[test]
fn an_instance_that_nobody_checks_any_more_is_well_again() {
    let registry = Registry::new(1, None);
    let health = Some(HealthCheck::default());
    let checked = source(&TWO, UpstreamSource { health, ..UpstreamSource::default() });
    let picks = |service: &service::Service| service.choice(service.now()).1.picks.len();
    let service = registry.service(&checked, 1);
    service.checked(0, false);
    assert_eq!(picks(&service), 1);
    let mut other = checked.clone();
    other.hosts.push("shop.test".to_owned());
    assert_eq!(picks(&registry.service(&other, 2)), 1, "what was said last holds");
    let unchecked = source(&TWO, UpstreamSource::default());
    assert_eq!(picks(&registry.service(&unchecked, 3)), 2);
}

/// Asks for the addresses of `name`.
fn of_name(name: &str) -> UpstreamSource {
    let dns = DnsSource {
        name: DnsName::Host(name.to_owned(), 80),
        scheme: "http".to_owned(),
        servers: Vec::new(),
        refresh: (Window::minutes(1), Window::minutes(5)),
    };
    UpstreamSource { dns: Some(dns), ..UpstreamSource::default() }
}

fn found_at(address: &str) -> Found {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let name = address.ip().to_string().replace('.', "-").parse().unwrap();
    Found { name, url: "http://pool.test:80".to_owned(), address, weight: 100 }
}

#[test]
fn only_the_first_answer_is_waited_for_good_or_bad() {
    let registry = Registry::new(1, None);
    let asked = |upstream, generation| registry.service(&source(&[], upstream), generation);
    assert!(asked(UpstreamSource::default(), 1).looking().is_none(), "nobody is asked");
    let service = asked(of_name("a.test"), 2);
    let waiting = service.looking().unwrap();
    // A bundle that asks for the same leaves them waiting.
    let same = UpstreamSource { panic_below: 1, ..of_name("a.test") };
    let newer = asked(same.clone(), 3);
    assert!(newer.looking().is_some() && !*waiting.borrow());
    // The keeper may know the service as it was.
    registry.found(&service, vec![found_at("10.0.0.1:80")]);
    assert!(*waiting.borrow() && registry.lookup(&service.name).unwrap().looking().is_none());
    assert_eq!(asked(same, 4).instances.len(), 1);
    let other = asked(of_name("b.test"), 5);
    assert!(other.looking().is_some(), "another name, and nobody has looked");
    registry.not_found(&service);
    assert!(other.looking().is_some(), "that was an answer to something else");
    registry.not_found(&other);
    assert!(other.looking().is_none() && other.instances.is_empty());
}

#[test]
fn who_waits_for_an_answer_that_is_not_wanted_any_more_looks_again() {
    let registry = Registry::new(1, None);
    let service = registry.service(&source(&[], of_name("a.test")), 1);
    let (waiting, version) = (service.looking().unwrap(), registry.version());
    let listed = registry.service(&source(&TWO, UpstreamSource::default()), 2);
    assert!(*waiting.borrow() && listed.looking().is_none());
    assert!(registry.version() > version, "cores look at what there is now");
}

#[test]
fn an_instance_is_the_same_one_in_every_list_that_it_is_in() {
    let registry = Registry::new(1, None);
    let service = registry.service(&source(&[], of_name("a.test")), 1);
    let [a, b, c] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(found_at);
    registry.found(&service, vec![b.clone(), c]);
    let first = registry.lookup(&service.name).unwrap();
    let (b_then, c_then) = (Arc::clone(&first.instances[0]), Arc::clone(&first.instances[1]));
    registry.found(&service, vec![a, b]);
    let (newest, at) = registry.place_of(&service.name, &b_then).unwrap();
    assert_eq!((newest.instances.len(), at), (2, 1));
    assert!(registry.place_of(&service.name, &c_then).is_none(), "it has left");
}

#[test]
fn what_was_found_stays_while_the_same_is_asked_for() {
    let dns = |name: &str, servers: &[&str], longest| DnsSource {
        name: DnsName::Host(name.to_owned(), 80),
        scheme: "http".to_owned(),
        servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
        refresh: (Window::minutes(1), Window::minutes(longest)),
    };
    let registry = Registry::new(1, None);
    let asked = |dns, generation| {
        let settings = UpstreamSource { dns: Some(dns), ..UpstreamSource::default() };
        registry.service(&source(&[], settings), generation)
    };
    let service = asked(dns("pool.test", &[], 5), 1);
    let address = "10.0.0.1:80".parse().unwrap();
    let (name, url) = ("10-0-0-1".parse().unwrap(), "http://pool.test:80".to_owned());
    registry.found(&service, vec![Found { name, url, address, weight: 100 }]);
    assert_eq!(asked(dns("pool.test", &[], 9), 2).instances.len(), 1);
    assert_eq!(asked(dns("pool.test", &["127.0.0.1:53"], 9), 3).instances.len(), 1);
    assert_eq!(asked(dns("other.test", &["127.0.0.1:53"], 9), 4).instances.len(), 0);
}

pub(super) fn addressed(balancer: &Balancer, name: &str) -> Turn {
    balancer.addressed(&name.parse().unwrap(), Instant::now()).unwrap()
}

/// For services that want nothing special of TLS.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl UpstreamCertificates for Nothing {
    async fn in_force(&self, _: &UpstreamTls) -> Result<Arc<ClientTls>, String> {
        Err("there are none".to_owned())
    }
}

pub(super) fn connectors() -> Connectors {
    Connectors::new(&rustls::RootCertStore::empty(), Arc::new(Nothing))
}

pub(super) fn local<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// An instance that takes connections and says nothing, and its URL.
pub(super) async fn silent(scheme: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    (listener, url)
}

pub(super) async fn is_closed(accepted: &mut TcpStream) -> bool {
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_mins(1), accepted.read_to_end(&mut all)).await.is_ok()
}

#[test]
fn clients_cannot_have_an_instance_left_out_by_asking_for_an_upgrade() {
    local(async {
        let connectors = connectors();
        let ((_first, one), (_second, two)) = (silent("h2c").await, silent("h2c").await);
        let source = source(&[("a", &one), ("b", &two)], UpstreamSource::default());
        let service = Registry::new(1, None).service(&source, 1);
        let balancer = Balancer::new(Arc::clone(&service), 0, None);
        for _ in 0..10 {
            let turn = addressed(&balancer, "a");
            let lane = turn.connect(&connectors, Kind::Upgradable).await;
            assert_eq!(lane.err(), Some(UpstreamTrouble::Unreachable));
        }
        assert_eq!(service.choice(service.now()).1.picks.len(), 2);
        let turn = addressed(&balancer, "a");
        assert!(turn.connect(&connectors, Kind::Any).await.is_ok(), "it can be reached");
    });
}

#[test]
fn what_the_gate_itself_lacks_is_not_held_against_instances() {
    local(async {
        let connectors = connectors();
        let ((_first, one), (_second, two)) = (silent("https").await, silent("https").await);
        let mut source = source(&[("a", &one), ("b", &two)], UpstreamSource::default());
        source.edge.upstream_tls = Some(UpstreamTls {
            authorities: Authorities::WorkloadApi,
            spiffe_id: Some("spiffe://prod.example.com/pay".to_owned()),
            server_name: None,
            own: None,
        });
        let service = Registry::new(1, None).service(&source, 1);
        let balancer = Balancer::new(Arc::clone(&service), 0, None);
        let turn = balancer.addressed(&"a".parse().unwrap(), Instant::now()).unwrap();
        let endpoint = Rc::clone(turn.endpoint());
        let lane = turn.connect(&connectors, Kind::Any).await;
        assert_eq!(lane.err(), Some(UpstreamTrouble::Unreachable));
        assert_eq!(service.choice(service.now()).1.picks.len(), 2);
        // That the instance is gone is another matter.
        let gone = Err::<(), _>(std::io::Error::other("gone").into());
        assert!(endpoint.note(gone).is_err());
        assert_eq!(service.choice(service.now()).1.picks.len(), 1);
    });
}

/// A service of one instance, `a`, and the balancer of a core.
fn only(url: &str) -> (Arc<service::Service>, Balancer) {
    let source = source(&[("a", url)], UpstreamSource::default());
    let service = Registry::new(1, None).service(&source, 1);
    let balancer = Balancer::new(Arc::clone(&service), 0, None);
    (service, balancer)
}

#[test]
fn a_request_that_is_not_sent_twice_has_a_connection_of_its_own() {
    local(async {
        let connectors = connectors();
        let (_listener, url) = silent("h2c").await;
        let (service, balancer) = only(&url);
        let made = async |kind| {
            let turn = addressed(&balancer, "a");
            let lane = match turn.pooled_for(kind) {
                Ok(lane) => lane,
                Err(turn) => turn.connect(&connectors, kind).await.unwrap(),
            };
            (lane, service.counts.load.sum(What::Connections))
        };
        let (_first, one) = made(Kind::Any).await;
        let (_second, shared) = made(Kind::Any).await;
        let (_once, own) = made(Kind::Once).await;
        let (_again, another) = made(Kind::Once).await;
        let (_last, still) = made(Kind::Any).await;
        assert_eq!([one, shared, own, another, still], [1, 1, 2, 3, 3]);
    });
}

#[test]
fn a_request_that_a_pooled_connection_failed_gets_a_new_one() {
    local(async {
        let connectors = connectors();
        let (_listener, url) = silent("h2c").await;
        let (service, balancer) = only(&url);
        let made = async |kind| {
            let turn = addressed(&balancer, "a");
            turn.connect(&connectors, kind).await.unwrap()
        };
        let connections = || service.counts.load.sum(What::Connections);
        let _first = made(Kind::Any).await;
        assert_eq!(connections(), 1);
        // Many at once share the one that the first of them makes.
        let _all = tokio::join!(made(Kind::Fresh), made(Kind::Fresh), made(Kind::Fresh));
        assert_eq!(connections(), 2);
        let _last = made(Kind::Fresh).await;
        assert_eq!(connections(), 3);
    });
}

#[test]
fn a_tunnel_keeps_no_connection_open_but_its_own() {
    local(async {
        let connectors = connectors();
        for taken_over in [false, true] {
            let (listener, url) = silent("h2c").await;
            let (service, balancer) = only(&url);
            let _tunnel = addressed(&balancer, "a");
            let turn = addressed(&balancer, "a");
            drop(turn.connect(&connectors, Kind::Any).await.unwrap());
            let (mut accepted, _) = listener.accept().await.unwrap();
            let new = taken_over.then(|| Balancer::new(Arc::clone(&service), 0, Some(&balancer)));
            drop(balancer);
            if let Some(new) = new {
                let pooled = addressed(&new, "a").pooled_for(Kind::Any);
                assert!(pooled.is_ok(), "the new one has it");
            } else {
                assert!(is_closed(&mut accepted).await);
            }
        }
    });
}

#[test]
fn what_is_given_back_to_a_balancer_that_was_replaced_is_closed() {
    local(async {
        let connectors = connectors();
        let (listener, url) = silent("http").await;
        let source = source(&[("a", &url)], UpstreamSource::default());
        let service = Registry::new(1, None).service(&source, 1);
        let balancer = Balancer::new(service, 0, None);
        let turn = addressed(&balancer, "a");
        let endpoint = Rc::clone(turn.endpoint());
        let lane = turn.connect(&connectors, Kind::Any).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        drop(balancer);
        lane.give_back();
        assert!(is_closed(&mut accepted).await);
        drop(endpoint);
    });
}
