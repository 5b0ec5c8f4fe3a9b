//! `listeners[].proxy_protocol`: load balancers that say whose connections they pass on.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// Who must begin each connection with a PROXY protocol header, version 1 or 2, and is believed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProxyProtocol {
    /// Their networks: `10.0.0.0/8`, `2001:db8::/32`. Others connect with their own address.
    #[schemars(with = "Vec<String>")]
    pub(crate) from: Vec<IpNet>,
}

impl ProxyProtocol {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let from = section.required("from");
        section.finish();
        let from = from?;
        let items = from.list();
        if items.is_empty() {
            let help = "name the networks of your load balancers, or take `proxy_protocol` out";
            from.error("nobody's PROXY protocol headers are believed".into(), Some(help.into()));
        }
        let networks: Vec<IpNet> = items.iter().filter_map(network).collect();
        (!networks.is_empty()).then_some(Self { from: networks })
    }
}

fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let Ok(network) = text.parse::<IpNet>() else {
        let help = match text.parse::<IpAddr>() {
            Ok(ip) => format!("write {}", IpNet::from(ip)),
            Err(_) => "write it like 10.0.0.0/8 or 2001:db8::/32".into(),
        };
        field.error(format!("`{text}` is not a network"), Some(help));
        return None;
    };
    if network.prefix_len() == 0 {
        let help = "name the networks of your load balancers, and nothing else";
        field.error("everybody could claim any address".into(), Some(help.into()));
    } else if network != network.trunc() {
        let help = format!("write {} or {}", network.trunc(), IpNet::from(network.addr()));
        field.error(format!("`{text}` has bits behind its prefix"), Some(help));
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(networks: &str) -> String {
        let listener = r#"address: "127.0.0.1:8080""#;
        SOUND.replacen(listener, &format!("{listener}, proxy_protocol: {networks}"), 1)
    }

    #[test]
    fn networks_of_load_balancers_are_read() {
        let loaded = loaded(&with(r#"{from: [10.0.0.0/8, "2001:db8::/32"]}"#)).expect("loads");
        let read = loaded.config.listeners[0].proxy_protocol.as_ref().expect("read");
        let shown: Vec<String> = read.from.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "2001:db8::/32"]);
    }

    #[test]
    fn c08_nobody_is_believed_by_default_and_never_everybody() {
        assert!(loaded(SOUND).expect("loads").config.listeners[0].proxy_protocol.is_none());
        for (networks, message, help) in [
            ("true", "must be a mapping", ""),
            ("{}", "lacks `from`", ""),
            ("{from: []}", "nobody's PROXY protocol headers", "name the networks"),
            ("{from: [0.0.0.0/0]}", "everybody could claim any address", "and nothing else"),
            (r#"{from: ["::/0"]}"#, "everybody could claim any address", ""),
            ("{from: [10.0.0.7]}", "`10.0.0.7` is not a network", "10.0.0.7/32"),
            ("{from: [balancer]}", "`balancer` is not a network", "10.0.0.0/8"),
            ("{from: [10.0.0.7/8]}", "has bits behind its prefix", "10.0.0.0/8 or 10.0.0.7/32"),
            ("{from: [10.0.0.0/8], version: 2}", "unknown key `version`", ""),
        ] {
            let shown = refused(&with(networks));
            assert!(shown.contains(message), "{networks}: {shown}");
            assert!(shown.contains(help), "{networks}: {shown}");
        }
    }
}
