//! Instances that DNS knows: the addresses of a host, or the targets of SRV records.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, rdata::SRV},
};
use portcullis_model::InstanceName;
use portcullis_policy::upstream::{DnsName, DnsSource};

use super::{
    address,
    discovery::{Discovery, Found},
    endpoint::Place,
};

/// One name that is asked for.
pub(super) struct Dns {
    source: DnsSource,
    resolver: TokioResolver,
}

impl Dns {
    /// Asks the name servers that `source` lists, or the machine's own.
    pub(super) fn new(source: DnsSource) -> Result<Self, String> {
        let mut builder = if source.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| error.to_string())?
        } else {
            let servers = source.servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        // What is asked for is asked for when it is due, and kept by whoever asks.
        builder.options_mut().cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { source, resolver })
    }

    /// The addresses of `host`, and for how long.
    async fn addresses(&self, host: &str) -> Result<(Vec<IpAddr>, u32), String> {
        let (four, six) =
            tokio::join!(self.resolver.ipv4_lookup(host), self.resolver.ipv6_lookup(host));
        let mut found = Vec::new();
        let mut ttl = u32::MAX;
        let mut failure = None;
        for lookup in [four, six] {
            let lookup = match lookup {
                Ok(lookup) => lookup,
                // There is no such record: an answer like any other.
                Err(error) if error.is_no_records_found() => continue,
                Err(error) => {
                    failure = Some(error.to_string());
                    continue;
                }
            };
            for record in lookup.answers() {
                ttl = ttl.min(record.ttl);
                match &record.data {
                    RData::A(address) => found.push(IpAddr::V4(address.0)),
                    RData::AAAA(address) => found.push(IpAddr::V6(address.0)),
                    _ => {}
                }
            }
        }
        // Half an answer would take half of the instances away.
        failure.map_or(Ok((found, ttl)), Err)
    }

    async fn targets(&self, name: &str) -> Result<(Vec<Found>, u32), String> {
        let lookup = self.resolver.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let records: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((record.ttl, srv)),
                _ => None,
            })
            .collect();
        let priorities: BTreeSet<u16> = records.iter().map(|(_, srv)| srv.priority).collect();
        let mut ttl = records.iter().map(|(ttl, _)| *ttl).min().unwrap_or(u32::MAX);
        // RFC 2782: the targets of the lowest number that lead anywhere, and no others.
        for priority in priorities {
            let targets = records.iter().map(|(_, srv)| *srv);
            let targets: Vec<_> = targets.filter(|srv| srv.priority == priority).collect();
            let (found, of_addresses) = self.ranked(name, &targets).await?;
            ttl = ttl.min(of_addresses);
            if !found.is_empty() {
                return Ok((found, ttl));
            }
        }
        Ok((Vec::new(), ttl))
    }

    /// The instances at `targets`, all of one priority, and for how long their addresses are good.
    async fn ranked(&self, name: &str, targets: &[&SRV]) -> Result<(Vec<Found>, u32), String> {
        let heaviest = targets.iter().map(|srv| srv.weight).max().unwrap_or_default();
        let (mut found, mut ttl) = (Vec::new(), u32::MAX);
        for srv in targets {
            let host = srv.target.to_ascii();
            // INVARIANT: an address or `localhost` is meant if the configuration writes it. A name server that
            // says so means nothing.
            if !self.is_name(host.trim_end_matches('.')) {
                tracing::warn!(
                    name,
                    target = host,
                    "a target of SRV records has no name of its own"
                );
                continue;
            }
            let (addresses, of_addresses) = self.addresses(&host).await?;
            ttl = ttl.min(of_addresses);
            let host = host.trim_end_matches('.');
            let several = addresses.len() > 1;
            let weight = percent(srv.weight, heaviest, addresses.len());
            for address in addresses {
                let at = SocketAddr::new(address, srv.port);
                let label = format!("{}-{}", host.replace('.', "-"), srv.port).to_ascii_lowercase();
                let label = if several { format!("{label}-{}", dashed(address)) } else { label };
                found.extend(self.found(&label, host, at).map(|it| Found { weight, ..it }));
            }
        }
        Ok((found, ttl))
    }

    /// Whether `host` has to be looked up to know where it leads.
    fn is_name(&self, host: &str) -> bool {
        let place = Place::parse(&format!("{}://{host}", self.source.scheme));
        place.is_some_and(|place| !address::says_where(&place))
    }

    fn found(&self, label: &str, host: &str, at: SocketAddr) -> Option<Found> {
        let name: InstanceName = label.parse().ok().or_else(|| plain(at))?;
        let url = format!("{}://{host}:{}", self.source.scheme, at.port());
        // Places in lists are counted: what cannot be used must not be in them.
        Place::parse(&url)?;
        Some(Found { name, url, address: at, weight: 100 })
    }
}

#[async_trait(?Send)]
impl Discovery for Dns {
    async fn find(&self) -> Result<(Vec<Found>, Duration), String> {
        let (found, ttl) = match &self.source.name {
            DnsName::Host(host, port) => {
                // Written without a dot at its end, it is still the whole name.
                let whole = format!("{}.", host.trim_end_matches('.'));
                let (addresses, ttl) = self.addresses(&whole).await?;
                let found = addresses.into_iter().filter_map(|address| {
                    self.found(&dashed(address), host, SocketAddr::new(address, *port))
                });
                (found.collect(), ttl)
            }
            DnsName::Srv(name) => self.targets(&format!("{}.", name.trim_end_matches('.'))).await?,
        };
        let (shortest, longest) = self.source.refresh;
        let valid = Duration::from_secs(u64::from(ttl));
        Ok((told_apart(found), valid.clamp(shortest.get(), longest.get().max(shortest.get()))))
    }

    fn shortest(&self) -> Duration {
        self.source.refresh.0.get()
    }
}

/// Sorted, each once, and each with a name of its own, whatever the order of the answer: two hosts may differ in
/// nothing but their dots. Those whose name means several places are called by where they are.
fn told_apart(mut found: Vec<Found>) -> Vec<Found> {
    let mut places: BTreeMap<InstanceName, BTreeSet<SocketAddr>> = BTreeMap::new();
    for it in &found {
        places.entry(it.name.clone()).or_default().insert(it.address);
    }
    for it in &mut found {
        if places.get(&it.name).is_some_and(|places| places.len() > 1)
            && let Some(name) = plain(it.address)
        {
            it.name = name;
        }
    }
    found.sort_by(|a, b| (&a.name, &a.url, a.weight).cmp(&(&b.name, &b.url, b.weight)));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

/// What an instance is called that has no other name.
fn plain(at: SocketAddr) -> Option<InstanceName> {
    format!("{}-{}", dashed(at.ip()), at.port()).parse().ok()
}

/// What one of the `addresses` of a target has of what the heaviest has (RFC 2782). Where all weigh nothing, all weigh
/// the same.
fn percent(weight: u16, heaviest: u16, addresses: usize) -> u8 {
    let addresses = u64::try_from(addresses).unwrap_or(u64::MAX).max(1);
    let of_target = match heaviest {
        0 => 100,
        heaviest => u64::from(weight) * 100 / u64::from(heaviest),
    };
    u8::try_from((of_target / addresses).clamp(1, 100)).unwrap_or(100)
}

/// An address as a part of a name: `10-0-0-5`, `fd00-0-0-0-0-0-0-1`.
fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.octets().map(|octet| octet.to_string()).join("-"),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join("-"),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::Window;

    use super::*;

    fn asked(name: DnsName) -> Dns {
        let servers = vec!["127.0.0.1:9".parse().unwrap()];
        let refresh = (Window::minutes(1), Window::minutes(1));
        Dns::new(DnsSource { name, scheme: "http".to_owned(), servers, refresh }).unwrap()
    }

    #[test]
    fn what_makes_no_url_is_not_found() {
        let dns = asked(DnsName::Srv("_pay._tcp.internal".to_owned()));
        let found = |host: &str| dns.found("pay", host, "10.0.0.1:80".parse().unwrap());
        assert!(found("pay-1.internal").is_some());
        for nonsense in ["a b.internal", "a/b", "a\\.b"] {
            assert_eq!(found(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_target_has_its_weight_and_each_of_its_addresses_a_part_of_it() {
        assert_eq!(percent(60, 60, 1), 100);
        assert_eq!(percent(20, 60, 1), 33);
        assert_eq!(percent(60, 60, 3), 33);
        assert_eq!((percent(0, 0, 1), percent(0, 0, 2)), (100, 50), "nobody says anything");
        assert_eq!((percent(0, 10, 1), percent(1, u16::MAX, 9)), (1, 1), "little, and not nothing");
    }

    #[test]
    fn hosts_that_differ_in_their_dots_are_two_instances_in_any_order() {
        let dns = asked(DnsName::Srv("_pay._tcp.internal".to_owned()));
        let found = |host: &str, at: &str| {
            let label = format!("{}-80", host.replace('.', "-"));
            dns.found(&label, host, at.parse().unwrap()).unwrap()
        };
        let all = [
            found("pay-1.internal", "10.0.0.1:80"),
            found("pay.1.internal", "10.0.0.2:80"),
            found("pay-2.internal", "10.0.0.3:80"),
            found("pay-2.internal", "10.0.0.3:80"),
            found("pay-3.internal", "10.0.0.4:80"),
            found("pay.3.internal", "10.0.0.4:80"),
        ];
        let told = told_apart(all.to_vec());
        let named = |it: &Found| (it.name.to_string(), it.url.clone());
        let expected = [
            ("10-0-0-1-80", "http://pay-1.internal:80"),
            ("10-0-0-2-80", "http://pay.1.internal:80"),
            ("pay-2-internal-80", "http://pay-2.internal:80"),
            ("pay-3-internal-80", "http://pay-3.internal:80"),
        ];
        let expected = expected.map(|(name, url)| (name.to_owned(), url.to_owned()));
        assert_eq!(told.iter().map(named).collect::<Vec<_>>(), expected);
        assert_eq!(told_apart(all.into_iter().rev().collect()), told);
    }

    #[test]
    fn j01_a_target_cannot_mean_what_nobody_wrote() {
        let dns = asked(DnsName::Srv("_pay._tcp.internal".to_owned()));
        for means_itself in [
            "127.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[fd00:ec2::254]",
            "localhost",
            "LocalHost",
            "a.localhost",
            "",
        ] {
            assert!(!dns.is_name(means_itself), "{means_itself}");
        }
        for name in ["pay-1.internal", "localhost.internal", "1.0.0.127.internal"] {
            assert!(dns.is_name(name), "{name}");
        }
    }
}
