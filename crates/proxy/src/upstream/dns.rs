//! Instances that DNS knows: the addresses of a host, or the targets of SRV records.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RData,
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
        // RFC 2782: the targets of the lowest number, as long as there are any.
        let first = records.iter().map(|(_, srv)| srv.priority).min();
        let records = records.iter().filter(|(_, srv)| Some(srv.priority) == first);
        let heaviest = records.clone().map(|(_, srv)| srv.weight).max().unwrap_or_default();
        let (mut found, mut ttl) = (Vec::new(), u32::MAX);
        for (own, srv) in records {
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
            ttl = ttl.min(*own).min(of_addresses);
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
        let plain = || format!("{}-{}", dashed(at.ip()), at.port()).parse().ok();
        let name: InstanceName = label.parse().ok().or_else(plain)?;
        let url = format!("{}://{host}:{}", self.source.scheme, at.port());
        // Places in lists are counted: what cannot be used must not be in them.
        Place::parse(&url)?;
        Some(Found { name, url, address: at, weight: 100 })
    }
}

#[async_trait(?Send)]
impl Discovery for Dns {
    async fn find(&self) -> Result<(Vec<Found>, Duration), String> {
        let (mut found, ttl) = match &self.source.name {
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
        found.sort_by(|a: &Found, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.name == b.name);
        let (shortest, longest) = self.source.refresh;
        let valid = Duration::from_secs(u64::from(ttl));
        Ok((found, valid.clamp(shortest.get(), longest.get().max(shortest.get()))))
    }

    fn shortest(&self) -> Duration {
        self.source.refresh.0.get()
    }
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
