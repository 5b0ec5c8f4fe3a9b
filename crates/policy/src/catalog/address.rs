//! Addresses of instances as they are written: each has one spelling, and special ones are listed.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::upstream::special;

/// What is wrong with the host of `url`, whose text is `text`, if anything is.
pub(super) fn check(text: &str, url: &Url, allow: &[IpNet]) -> Result<(), String> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => {
            // Decimal, octal and short forms are read in as many ways as there are readers.
            if written(text) != address.to_string() {
                return Err(format!("its host reads as the address {address}: write that"));
            }
            IpAddr::V4(address)
        }
        Some(Host::Ipv6(address)) => match IpAddr::V6(address).to_canonical() {
            IpAddr::V4(real) => {
                return Err(format!("its host is the IPv4 address {real} in IPv6: write that"));
            }
            address @ IpAddr::V6(_) => address,
        },
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    let listed = allow.iter().any(|net| net.contains(&address));
    match special(address) {
        Some(what) if !listed && !address.is_loopback() => Err(format!(
            "its address {address} is {what}; list it under `upstream.allow` if that is meant"
        )),
        _ => Ok(()),
    }
}

/// The host as it is written.
fn written(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, allow: &[&str]) -> Result<(), String> {
        let url = Url::parse(text).unwrap();
        let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().unwrap()).collect();
        check(text, &url, &allow)
    }

    #[test]
    fn j01_special_addresses_are_listed_and_others_are_not() {
        for text in [
            "http://10.0.0.5:8080",
            "http://192.168.1.1",
            "https://[fd00::5]:8443",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://payments.internal",
            "http://8.8.8.8",
        ] {
            assert_eq!(checked(text, &[]), Ok(()), "{text}");
        }
        for (text, net) in [
            ("http://169.254.169.254", "169.254.169.254/32"),
            ("http://0.0.0.0:80", "0.0.0.0/32"),
            ("http://[::]:80", "::/128"),
            ("http://224.0.0.1", "224.0.0.0/4"),
            ("http://255.255.255.255", "255.255.255.255/32"),
            ("http://[fe80::1]", "fe80::/10"),
            ("http://[fd00:ec2::254]", "fd00:ec2::254/128"),
            ("http://[64:ff9b::a9fe:a9fe]", "64:ff9b::/96"),
        ] {
            let error = checked(text, &[]).unwrap_err();
            assert!(error.contains("upstream.allow"), "{text}: {error}");
            assert!(checked(text, &["10.0.0.0/8"]).is_err(), "{text}");
            assert_eq!(checked(text, &[net]), Ok(()), "{text}");
        }
    }

    #[test]
    fn j01_an_address_has_one_spelling() {
        for (text, real) in [
            ("http://2130706433", "127.0.0.1"),
            ("http://0x7f000001:80", "127.0.0.1"),
            ("http://127.1", "127.0.0.1"),
            ("http://0177.0.0.1", "127.0.0.1"),
            ("http://2852039166/", "169.254.169.254"),
            ("http://[::ffff:169.254.169.254]", "169.254.169.254"),
            ("http://[::ffff:7f00:1]:80", "127.0.0.1"),
        ] {
            let error = checked(text, &["0.0.0.0/0", "::/0"]).unwrap_err();
            assert!(error.contains(real) && error.contains("write that"), "{text}: {error}");
        }
    }
}
