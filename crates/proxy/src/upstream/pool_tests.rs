//! What is kept, for whom, and for how long.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use portcullis_model::{Window, refusal::UpstreamTrouble};
use portcullis_policy::upstream::{Limits, Timeouts, UpstreamSource};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{spawn_local, yield_now},
};

use super::*;
use crate::{
    body::{UpBody, Whole},
    upstream::{
        Balancer, Connectors, Failure, Kind, Lane, Registry, Sent, Turn,
        load::What,
        service::{Service, tests::source},
        tests::{addressed, connectors, is_closed, local, silent},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A service of these instances, `a` and so on, on so many cores, with so many connections to each and to all of them.
fn service(urls: &[&str], cores: usize, each: u32, all: u32) -> Arc<Service> {
    let usual = UpstreamSource::default();
    let instance_limits = Limits { connections: each, ..usual.instance_limits };
    let service_limits = Limits { connections: all, ..usual.service_limits };
    served(urls, cores, UpstreamSource { instance_limits, service_limits, ..usual })
}

fn served(urls: &[&str], cores: usize, settings: UpstreamSource) -> Arc<Service> {
    let named: Vec<_> = ["a", "b", "c"].into_iter().zip(urls.iter().copied()).collect();
    Registry::new(cores, None).service(&source(&named, settings), 1)
}

fn balancer(service: &Arc<Service>, core: usize) -> Balancer {
    Balancer::new(Arc::clone(service), core, None)
}

fn connections(service: &Service) -> u32 {
    service.counts.load.sum(What::Connections)
}

async fn connect(
    balancer: &Balancer,
    name: &str,
    connectors: &Connectors,
) -> Result<Lane, UpstreamTrouble> {
    match addressed(balancer, name).pooled_for(Kind::Any) {
        Ok(lane) => Ok(lane),
        Err(turn) => turn.connect(connectors, Kind::Any).await,
    }
}

/// Whoever is driven meanwhile gets there sooner or later.
async fn eventually(holds: impl Fn() -> bool) {
    let all = async {
        while !holds() {
            yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all).await.expect("not within a minute");
}

/// A connection to `name` is made, and kept: the upstream's side of it.
async fn rests(
    balancer: &Balancer,
    name: &str,
    connectors: &Connectors,
    listener: &TcpListener,
) -> TcpStream {
    connect(balancer, name, connectors).await.unwrap().give_back();
    let (accepted, _) = listener.accept().await.unwrap();
    let requests = || addressed(balancer, name).endpoint().under_way();
    eventually(|| requests() == 1 && balancer.is_used()).await;
    accepted
}

#[test]
fn what_rests_makes_room_for_another_instance_of_its_service() {
    local(async {
        let ((first, one), (second, two)) = (silent("http").await, silent("http").await);
        let (connectors, service) = (connectors(), service(&[&one, &two], 1, 9, 1));
        let balancer = balancer(&service, 0);
        let mut accepted = rests(&balancer, "a", &connectors, &first).await;
        let lane = connect(&balancer, "b", &connectors).await.unwrap();
        second.accept().await.unwrap();
        assert!(is_closed(&mut accepted).await);
        assert_eq!(connections(&service), 1);
        // What carries something stays.
        let refused = connect(&balancer, "a", &connectors).await;
        assert_eq!(refused.err(), Some(UpstreamTrouble::Overloaded));
        drop(lane);
    });
}

#[test]
fn what_rests_makes_room_for_a_connection_of_ones_own() {
    local(async {
        for scheme in ["http", "h2c"] {
            let (listener, url) = silent(scheme).await;
            let (connectors, service) = (connectors(), service(&[&url], 1, 1, 9));
            let balancer = balancer(&service, 0);
            let mut accepted = rests(&balancer, "a", &connectors, &listener).await;
            let own = addressed(&balancer, "a").connect(&connectors, Kind::Once).await.unwrap();
            assert!(is_closed(&mut accepted).await, "{scheme}");
            assert_eq!(connections(&service), 1, "{scheme}");
            drop(own);
        }
    });
}

#[test]
fn a_core_keeps_its_part_of_the_connections_that_there_may_be() {
    local(async {
        let (_listener, url) = silent("http").await;
        let (connectors, service) = (connectors(), service(&[&url], 4, 8, 9));
        let balancer = balancer(&service, 0);
        let mut lanes = Vec::new();
        for _ in 0..5 {
            lanes.push(connect(&balancer, "a", &connectors).await.unwrap());
        }
        assert_eq!(connections(&service), 5);
        lanes.into_iter().for_each(Lane::give_back);
        eventually(|| connections(&service) == 2).await;
        let kept = [(); 2].map(|()| addressed(&balancer, "a").pooled_for(Kind::Any).is_ok());
        assert_eq!(kept, [true, true]);
    });
}

#[test]
fn a_core_gives_back_what_another_was_refused() {
    local(async {
        let (listener, url) = silent("http").await;
        let (connectors, service) = (connectors(), service(&[&url], 2, 1, 9));
        let (mine, others) = (balancer(&service, 0), balancer(&service, 1));
        let mut accepted = rests(&mine, "a", &connectors, &listener).await;
        let now = Instant::now();
        mine.forget_idle(now + 2 * SECOND);
        assert!(mine.is_used(), "nobody misses it");
        let refused = connect(&others, "a", &connectors).await;
        assert_eq!(refused.err(), Some(UpstreamTrouble::Overloaded));
        mine.forget_idle(now + 3 * SECOND);
        assert!(is_closed(&mut accepted).await);
        eventually(|| connections(&service) == 0).await;
        assert!(connect(&others, "a", &connectors).await.is_ok());
    });
}

/// A server that takes two streams at a time on each connection, and answers each at once.
async fn two_at_a_time() -> String {
    let (listener, url) = silent("h2c").await;
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(2);
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            });
        }
    });
    url
}

/// Sends a request and waits for the head of its answer: by then the server has said what it takes.
async fn ask(lane: &mut Lane) {
    let mut request = Request::new(UpBody::Whole(Whole::new(Bytes::new(), None)));
    *request.method_mut() = Method::GET;
    lane.address(&mut request, "/".parse().unwrap(), &HeaderValue::from_static("a.test"));
    let Sent::Answered(response) = lane.send(request).await else { panic!("it answers") };
    lane.answered(response.status());
}

#[test]
fn a_connection_that_is_full_of_streams_gets_company() {
    local(async {
        let url = two_at_a_time().await;
        let (connectors, service) = (connectors(), service(&[&url], 1, 2, 9));
        let balancer = balancer(&service, 0);
        let mut lanes = Vec::new();
        for expected in [1, 1, 2, 2] {
            let mut lane = connect(&balancer, "a", &connectors).await.unwrap();
            ask(&mut lane).await;
            lanes.push(lane);
            assert_eq!(connections(&service), expected);
        }
        let refused = connect(&balancer, "a", &connectors).await;
        assert_eq!(refused.err(), Some(UpstreamTrouble::Overloaded), "it is refused at once");
        lanes.remove(0);
        assert!(addressed(&balancer, "a").pooled_for(Kind::Any).is_ok(), "one has ended");
        // What is left over when there is less to do is closed.
        lanes.pop();
        lanes.pop();
        let begun = Instant::now();
        balancer.forget_idle(begun);
        balancer.forget_idle(begun + 51 * SECOND);
        eventually(|| connections(&service) == 1).await;
    });
}

#[test]
fn a_shared_connection_that_has_rested_is_doubted_and_closed_in_the_end() {
    local(async {
        let url = two_at_a_time().await;
        let (connectors, service) = (connectors(), service(&[&url], 1, 9, 9));
        let balancer = balancer(&service, 0);
        let mut lane = connect(&balancer, "a", &connectors).await.unwrap();
        let pooled = || addressed(&balancer, "a").pooled_for(Kind::Any).unwrap();
        assert!(pooled().is_doubtful(), "nobody has been answered yet");
        ask(&mut lane).await;
        assert!(!pooled().is_doubtful());
        let begun = Instant::now();
        // One that is open proves nothing, and yet it keeps its connection.
        balancer.forget_idle(begun + 100 * SECOND);
        assert!(pooled().is_doubtful());
        drop(lane);
        let mut next = pooled();
        ask(&mut next).await;
        assert!(!pooled().is_doubtful());
        drop(next);
        balancer.forget_idle(begun + 149 * SECOND);
        assert!(pooled().is_doubtful());
        balancer.forget_idle(begun + 151 * SECOND);
        assert!(addressed(&balancer, "a").pooled_for(Kind::Any).is_err());
        eventually(|| connections(&service) == 0).await;
    });
}

#[test]
fn nobody_waits_for_somebody_elses_handshake_where_nothing_will_be_shared() {
    local(async {
        let (listener, url) = silent("https").await;
        let service = service(&[&url], 1, 9, 9);
        let balancer = balancer(&service, 0);
        addressed(&balancer, "a").endpoint().chose(true);
        let turns = [(); 2].map(|()| addressed(&balancer, "a"));
        for turn in turns {
            spawn_local(async move { turn.connect(&connectors(), Kind::Any).await.err() });
        }
        let both = async { (listener.accept().await.unwrap(), listener.accept().await.unwrap()) };
        assert!(tokio::time::timeout(Duration::from_secs(20), both).await.is_ok());
    });
}

#[test]
fn a_place_in_the_line_is_given_up_when_a_connection_would_have_been() {
    local(async {
        let (_listener, url) = silent("https").await;
        let timeouts =
            Timeouts { connect: Window::seconds(2), ..UpstreamSource::default().timeouts };
        let service = served(&[&url], 1, UpstreamSource { timeouts, ..UpstreamSource::default() });
        let balancer = balancer(&service, 0);
        let connecting = |turn: Turn| {
            spawn_local(async move { turn.connect(&connectors(), Kind::Any).await.err() })
        };
        let [first, second, third] = [(); 3].map(|()| connecting(addressed(&balancer, "a")));
        tokio::time::sleep(SECOND).await;
        // Its client has left: the second shakes hands now, with all the time that this may take.
        first.abort();
        let failures = tokio::select! {
            biased;
            _ = second => panic!("the third had waited for longer"),
            third = third => third.unwrap(),
        };
        assert_eq!(failures, Some(UpstreamTrouble::Unreachable));
    });
}

#[test]
fn whoever_is_picked_is_told_that_something_went_wrong() {
    let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];
    let usual = UpstreamSource::default();
    let instance_limits = Limits { requests: 1, ..usual.instance_limits };
    let service = served(&urls, 1, UpstreamSource { instance_limits, ..usual });
    let balancer = balancer(&service, 0);
    let tried = ["b".parse().unwrap()];
    let pick = || balancer.pick(Instant::now(), || 0).unwrap();
    let told = || {
        let (first, second) = (pick(), pick());
        // Both that chance picks are full.
        let third = pick();
        let picked = [first.is_wary(), third.is_wary()];
        assert_eq!(third.endpoint().name().as_str(), "c");
        drop((first, second, third));
        let other = balancer.pick_other(&tried).unwrap().is_wary();
        BTreeMap::from([
            ("picked", picked[0]),
            ("least", picked[1]),
            ("other", other),
            ("named", addressed(&balancer, "b").is_wary()),
        ])
    };
    assert!(told().values().all(|wary| !wary), "{:?}", told());
    service.failed(0, Failure::Failed);
    assert!(told().values().all(|wary| *wary), "{:?}", told());
}

#[test]
fn a_request_that_names_its_instance_is_kept_after_a_failure() {
    local(async {
        let (listener, url) = silent("http").await;
        let (connectors, service) = (connectors(), service(&[&url], 1, 9, 9));
        let balancer = balancer(&service, 0);
        let _accepted = rests(&balancer, "a", &connectors, &listener).await;
        let lane = addressed(&balancer, "a").pooled_for(Kind::Any).ok().unwrap();
        assert!(!lane.is_doubtful());
        lane.give_back();
        service.failed(0, Failure::Failed);
        let lane = addressed(&balancer, "a").pooled_for(Kind::Any).ok().unwrap();
        assert!(lane.is_doubtful());
    });
}
