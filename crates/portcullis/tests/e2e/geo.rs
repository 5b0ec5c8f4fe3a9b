//! Where requests come from: `context.source.country`.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use portcullis_testkit::net::free_port;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    mesh::eventually,
    people::Person,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::Wire,
};

/// The one of the semantics' own text, but for groups and labels.
const POLICY: &str = r#"
@id("geo")
forbid (principal is Workload, action in [Action::"read", Action::"write"], resource)
when { context.source has country && !(["DE", "PT"].contains(context.source.country)) };
"#;

/// A database in the format of `MaxMind`, version 2: networks by their first bytes, and their countries.
fn database(networks: &[([u8; 3], &str)]) -> Vec<u8> {
    // A tree over IPv6; IPv4 is below ::/96. Records of 24 bits.
    let mut data = Vec::new();
    let mut tree: Vec<[Option<Record>; 2]> = vec![[None, None]];
    for (network, country) in networks {
        let at = data.len();
        data.extend(map(&[("country", map(&[("iso_code", text(country))]))]));
        let bits = [0; 96].into_iter().chain(bits(network)).collect::<Vec<usize>>();
        let (last, path) = bits.split_last().unwrap();
        let mut node = 0;
        for bit in path {
            node = match tree[node][*bit] {
                Some(Record::Node(next)) => next,
                Some(Record::Data(_)) => panic!("networks overlap"),
                None => {
                    tree.push([None, None]);
                    let next = tree.len() - 1;
                    tree[node][*bit] = Some(Record::Node(next));
                    next
                }
            };
        }
        tree[node][*last] = Some(Record::Data(at));
    }
    let count = tree.len();
    let mut file = Vec::new();
    for record in tree.iter().flatten() {
        let number = match record {
            None => count,
            Some(Record::Node(node)) => *node,
            Some(Record::Data(at)) => count + 16 + at,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(map(&[
        ("node_count", number(6, u64::try_from(count).unwrap())),
        ("record_size", number(5, 24)),
        ("ip_version", number(5, 6)),
        ("database_type", text("Test-Country")),
        ("languages", vec![0, 4]),
        ("binary_format_major_version", number(5, 2)),
        ("binary_format_minor_version", number(5, 0)),
        ("build_epoch", number(9, 1_700_000_000)),
        ("description", map(&[])),
    ]));
    file
}

#[derive(Clone, Copy)]
enum Record {
    Node(usize),
    Data(usize),
}

fn bits(network: &[u8; 3]) -> impl Iterator<Item = usize> {
    network.iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1)))
}

fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 29);
    [&[2 << 5 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()]);
    let length = u8::try_from(pairs.clone().count() / 2).unwrap();
    std::iter::once(vec![7 << 5 | length]).chain(pairs).flatten().collect()
}

/// Unsigned; types above 7 are written in a byte of their own.
fn number(kind: u8, number: u64) -> Vec<u8> {
    let bytes: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = u8::try_from(bytes.len()).unwrap();
    let head = if kind > 7 { vec![length, kind - 7] } else { vec![kind << 5 | length] };
    [head, bytes].concat()
}

/// The shop with a listener that believes where others say that they come from.
struct Located {
    shop: Shop,
    upstream: Upstream,
    balanced: SocketAddr,
}

impl Located {
    fn open(file: &NamedTempFile) -> Self {
        Self::furnished(file, Upstream::start(), POLICY)
    }

    fn furnished(file: &NamedTempFile, upstream: Upstream, policy: &str) -> Self {
        let balanced = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let shop = Shop::furnished(&upstream.url(), |plan| {
            plan.policy("geo.cedar", policy)
                .setting(&format!("geo: {{database: \"{}\"}}", file.path().display()))
                .listener(&format!(
                    "{{name: balanced, address: \"{balanced}\", proxy_protocol: {{from: [127.0.0.1/32]}}}}"
                ))
        });
        Self { shop, upstream, balanced }
    }

    fn from(&self, ip: &str) -> u16 {
        let mut wire = self.asks_from(ip);
        wire.send("Connection: close\r\n\r\n");
        wire.response().unwrap().status
    }

    /// A request whose head has not ended.
    fn asks_from(&self, ip: &str) -> Wire {
        let ip: IpAddr = ip.parse().unwrap();
        let mut wire = Wire::connect(self.balanced);
        let (family, to) = if ip.is_ipv6() { ("TCP6", "::1") } else { ("TCP4", "10.0.0.2") };
        wire.send(format!("PROXY {family} {ip} {to} 51000 443\r\n"));
        wire.send(self.shop.head("GET", "/page"));
        wire
    }
}

pub(crate) fn written(networks: &[([u8; 3], &str)]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), database(networks)).unwrap();
    file
}

#[test]
fn a_policy_knows_in_which_country_an_address_is() {
    let file = written(&[([203, 0, 113], "PT"), ([198, 51, 100], "US"), ([192, 0, 2], "DE")]);
    let located = Located::open(&file);
    assert_eq!((located.from("203.0.113.7"), located.from("192.0.2.1")), (200, 200));
    assert_eq!(located.from("198.51.100.1"), 403, "elsewhere");
    assert_eq!(located.from("203.0.113.7"), 200, "what was decided of one is nothing to another");
    assert_eq!(located.from("10.0.0.1"), 200, "nobody knows, and the policy asks first");
    assert_eq!(located.from("2001:db8::1"), 200);
    assert_eq!(located.upstream.take().len(), 5);
    // The file is replaced: addresses move.
    let next = database(&[([203, 0, 113], "US"), ([198, 51, 100], "PT")]);
    let new = file.path().with_extension("new");
    fs::write(&new, next).unwrap();
    fs::rename(&new, file.path()).unwrap();
    eventually("the new one is in force", || located.from("198.51.100.1") == 200);
    assert_eq!(located.from("203.0.113.7"), 403);
    // What is none changes nothing.
    fs::write(&new, "not a database").unwrap();
    fs::rename(&new, file.path()).unwrap();
    eventually("it is said", || located.shop.house.log().contains("geo.stale"));
    assert_eq!((located.from("198.51.100.1"), located.from("203.0.113.7")), (200, 403));
}

#[test]
fn without_a_database_a_policy_that_asks_for_a_country_does_not_load() {
    let file = written(&[([203, 0, 113], "PT")]);
    let located = Located::open(&file);
    assert_eq!(located.from("203.0.113.7"), 200);
    let house = &located.shop.house;
    let settings = house.dir().join("portcullis.yaml");
    let with = fs::read_to_string(&settings).unwrap();
    let without: String = with
        .lines()
        .filter(|line| !line.starts_with("geo:"))
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(house.dir().join("next"), without).unwrap();
    fs::rename(house.dir().join("next"), &settings).unwrap();
    eventually("it is refused", || house.log().contains("no database says where addresses are"));
    assert_eq!(located.from("203.0.113.7"), 200, "the bundle in force stays");
    let checked = house.says("x", &["check", "--config", settings.to_str().unwrap()]);
    assert!(checked.1.contains("configure `geo`"), "{}", checked.1);
    let missing = with.replace(file.path().to_str().unwrap(), "nowhere.mmdb");
    fs::write(house.dir().join("missing.yaml"), missing).unwrap();
    let missing = house.dir().join("missing.yaml");
    let checked = house.says("x", &["check", "--config", missing.to_str().unwrap()]);
    assert!(checked.1.contains("not usable as a database of countries"), "{}", checked.1);
    let line = with.lines().position(|line| line.starts_with("geo:")).unwrap() + 1;
    for told in [&format!("missing.yaml:{line}:"), "geo: {database: \"nowhere.mmdb\"}\n"] {
        assert!(checked.1.contains(told), "{told}: {}", checked.1);
    }
    // To a database of IPv4 alone, everybody who comes by IPv6 is nowhere.
    let mut four = database(&[([203, 0, 113], "PT")]);
    let version = b"ip_version";
    let at = four.windows(version.len()).position(|bytes| bytes == version).unwrap();
    four[at + version.len() + 1] = 4;
    fs::write(house.dir().join("four.mmdb"), four).unwrap();
    fs::write(&missing, with.replace(file.path().to_str().unwrap(), "four.mmdb")).unwrap();
    let checked = house.says("x", &["check", "--config", missing.to_str().unwrap()]);
    assert!(checked.1.contains("it knows IPv4 addresses only"), "{}", checked.1);
    assert_eq!(house.gate(HOST, "GET", "/page", Some(&located.shop.token), None).status, 200);
}

#[test]
fn m15_what_was_open_before_anybody_asked_for_a_country_is_decided_by_it() {
    let file = written(&[([203, 0, 113], "PT"), ([198, 51, 100], "US")]);
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                   c\r\ndata: tick\n\n\r\n";
    let auditors = "@id(\"auditors\") permit (principal is User in Group::\"auditors\", action == \
                    Action::\"viewAudit\", resource);";
    let located = Located::furnished(&file, Upstream::answering(endless), auditors);
    let house = &located.shop.house;
    let auditor = house.sign_in(&Person::new("ada", &["auditors"]));
    let stream = |ip: &str| {
        let mut wire = located.asks_from(ip);
        wire.send("Accept: text/event-stream\r\n\r\n");
        let begun = String::from_utf8_lossy(&wire.read_until(b"data: tick")).into_owned();
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        wire
    };
    let (mut elsewhere, mut near) = (stream("198.51.100.1"), stream("203.0.113.7"));
    house.write_policy("countries.cedar", POLICY);
    house.signal("HUP");
    assert!(elsewhere.until_closed().is_some(), "the policy forbids where it comes from");
    let cut = |event: &Value| {
        event["type"] == "connection_ended" && event["decision"] == "policy_changed"
    };
    let events = house.record(&auditor, |events| events.iter().any(cut));
    assert_eq!(events.iter().filter(|event| cut(event)).count(), 1);
    assert_eq!(near.patience(Duration::from_millis(500)).until_closed(), None, "that one goes on");
    assert_eq!(located.from("198.51.100.1"), 403);
    // The record says what was decided with; where no policy asked, nothing was.
    let of = |event: &Value, status: u16| {
        event["source"] == "198.51.100.1" && event["type"] == "attempt" && event["status"] == status
    };
    let events = house.record(&auditor, |events| events.iter().any(|event| of(event, 403)));
    let [asked, unasked] =
        [403, 200].map(|status| events.iter().find(|event| of(event, status)).unwrap());
    assert_eq!((&asked["country"], &unasked["country"]), (&"US".into(), &Value::Null));
    house.profile("ada", &auditor);
    let shown = house.says("ada", &["audit", "show", &asked["seq"].to_string()]).1;
    assert!(shown.contains("\"country\": \"US\""), "{shown}");
}
