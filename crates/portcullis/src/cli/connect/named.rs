//! A service to connect to, and where it is wanted: `payments`, `payments=8081`, `ledger-db=127.0.0.1:5433`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use portcullis_model::ServiceName;

/// One service of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) service: ServiceName,
    pub(super) listen: Option<SocketAddr>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, at) = text.split_once('=').map_or((text, None), |(name, at)| (name, Some(at)));
        let service = name.parse().map_err(|error| format!("{error}"))?;
        let listen = at.map(|at| {
            address(at).ok_or_else(|| {
                format!("`{at}` is no port and no address; write it like 8081 or 127.0.0.1:8081")
            })
        });
        Ok(Self { service, listen: listen.transpose()? })
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let port = |port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    text.parse().ok().map(port).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let listen = |text: &str| text.parse::<Named>().map(|named| named.listen);
        assert_eq!(listen("payments"), Ok(None));
        assert_eq!(listen("payments=8081"), Ok(Some("127.0.0.1:8081".parse().unwrap())));
        assert_eq!(listen("payments=[::1]:8081"), Ok(Some("[::1]:8081".parse().unwrap())));
        for wrong in ["payments=", "payments=x", "=8081", "Payments", "payments=70000"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }
}
