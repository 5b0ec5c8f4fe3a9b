//! `services[].tcp`: services that speak TCP, or TLS that is none of the gate's business, and no HTTP.
//!
//! What their instances are says that they are such: `tcp://host:port` or `tls://host:port`, listed or under `dns`.

use portcullis_model::Window;
use portcullis_policy::bundle::TcpLimits;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    section::{Field, Section},
    size::Size,
    upstream::Upstream,
};

const IDLE: Window = Window::minutes(60);
const LONGEST_IDLE: Window = Window::minutes(24 * 60);
/// What HTTP has and a connection does not.
/// Bytes that nobody can look into are never promised to be masked.
const ONLY_HTTP: [&str; 7] =
    ["path_prefix", "max_body", "max_hold", "anonymous", "cors", "headers", "sensitive"];
/// The same of `operations`, and of `upstream.timeouts`.
const OPERATIONS: [&str; 3] = ["openapi", "inline", "max_body"];
const TIMEOUTS: [&str; 2] = ["request", "idle"];

/// Bounds on the connections of a TCP service.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct Tcp {
    /// A connection that carries nothing for so long ends; default `1h`, at most `24h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) idle: Window,
    /// The bytes that one connection may carry, both ways together; without it, as many as it likes.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "size")]
    pub(crate) max_bytes: Option<Size>,
}

impl Tcp {
    /// Of the service that `section` is, if its instances say that it speaks TCP and nothing is wrong with it.
    pub(super) fn read(section: &mut Section<'_>, upstream: Option<&Upstream>) -> Option<Self> {
        let given = section.field("tcp");
        let urls: Vec<String> = upstream.into_iter().flat_map(Upstream::spoken_to).collect();
        let count = urls.iter().filter(|url| is_address(url)).count();
        if count == 0 {
            if let Some(given) = given {
                let help = "write its instances as tcp://host:port or tls://host:port".to_owned();
                given.error("`tcp` is for services that speak TCP".into(), Some(help));
            }
            return None;
        }
        if count < urls.len() {
            let help = "make two services of it".to_owned();
            section.error("some instances of it speak TCP, and others HTTP".into(), Some(help));
            return None;
        }
        for key in ONLY_HTTP {
            if let Some(field) = section.field(key) {
                only_http(&field, key);
            }
        }
        let operations = section.field("operations");
        let timeouts = section.field("upstream").and_then(|field| inside(&field, "timeouts"));
        for (within, keys) in [(operations, &OPERATIONS[..]), (timeouts, &TIMEOUTS[..])] {
            let Some(within) = within else { continue };
            for &key in keys {
                if let Some(field) = inside(&within, key) {
                    only_http(&field, key);
                }
            }
        }
        given.map_or_else(|| Some(Self::default()), |field| Self::bounds(&field))
    }

    /// As policies are loaded with them.
    pub(crate) fn limits(self) -> TcpLimits {
        TcpLimits { idle: self.idle, max_bytes: self.max_bytes.map(Size::bytes) }
    }

    fn bounds(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let idle = section.field("idle").map_or(Some(IDLE), |field| longest(&field));
        let most = section.field("max_bytes");
        let max_bytes = most.map_or(Some(None), |field| field.parsed().map(Some));
        section.finish();
        Some(Self { idle: idle?, max_bytes: max_bytes? })
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self { idle: IDLE, max_bytes: None }
    }
}

/// Whether a URL says where something is that speaks no HTTP.
pub(super) fn is_address(url: &str) -> bool {
    url.starts_with("tcp://") || url.starts_with("tls://")
}

fn inside<'a>(field: &Field<'a>, key: &'static str) -> Option<Field<'a>> {
    field.is_map().then(|| field.section())??.field(key)
}

fn only_http(field: &Field<'_>, key: &str) {
    let help = Some("take it out: a TCP service has one operation, `connect`".to_owned());
    field.error(format!("`{key}` is for HTTP, and this service speaks TCP"), help);
}

fn longest(field: &Field<'_>) -> Option<Window> {
    let idle: Window = field.parsed()?;
    if idle > LONGEST_IDLE {
        field.error(format!("`idle` is {LONGEST_IDLE} at most, and not {idle}"), None);
        return None;
    }
    Some(idle)
}

#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn size<S: serde::Serializer>(
    size: &Option<Size>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match size {
        Some(size) => serializer.collect_str(size),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    const SERVICE: &str = r#"
  - name: ledger-db
    hosts: [ledger-db.example.com]
    upstream: {instances: {db-1: "tcp://10.0.0.5:5432", db-2: "tls://db.example.com:5432"}}
"#;

    #[test]
    fn a_service_whose_instances_speak_tcp_is_connected_to() {
        let loaded = loaded(&format!("{SOUND}{SERVICE}    tcp: {{idle: 15m, max_bytes: 2GiB}}\n"));
        let bundle = loaded.expect("loads").bundle;
        let limits = bundle.services[1].tcp().expect("TCP");
        assert_eq!((limits.idle.get().as_secs(), limits.max_bytes), (900, Some(2 << 30)));
        assert!(bundle.services[0].tcp().is_none());
        let loaded = super::super::tests::loaded(&format!("{SOUND}{SERVICE}")).expect("loads");
        assert_eq!(loaded.bundle.services[1].tcp().expect("TCP").idle.get().as_secs(), 3600);
    }

    #[test]
    fn its_instances_may_be_found_by_dns() {
        let with = |upstream: &str| {
            let (before, _) = SERVICE.split_once("    upstream").expect("has one");
            format!("{SOUND}{before}    upstream: {upstream}\n")
        };
        for found in [
            "{dns: \"tcp://db.internal:5432\"}",
            "{dns: \"tls://db.internal:5432\", health: {interval: 1s}}",
            "{dns: {srv: _pg._tcp.db.internal, scheme: tcp}}",
            "{dns: {srv: _pg._tcp.db.internal, scheme: tls}, tls: {server_name: db.internal}}",
        ] {
            let bundle = loaded(&with(found)).expect("loads").bundle;
            assert!(bundle.services[1].tcp().is_some(), "{found}");
        }
        for (wrong, message) in [
            ("{dns: \"tcp://db.internal\"}", "a host and a port"),
            ("{dns: \"tcp://10.0.0.5:5432\"}", "`dns` needs a name"),
            ("{dns: \"tcp://db.internal:5432\", health: {path: /}}", "`path` is for HTTP"),
            ("{dns: {srv: _pg._tcp.db.internal, scheme: tls}}", "whose certificates are believed"),
            ("{dns: {srv: _pg._tcp.db.internal, scheme: tcp}, tls: {ca: a.crt}}", "has no TLS"),
        ] {
            let shown = refused(&with(wrong));
            assert!(shown.contains(message), "{wrong}: {shown}");
        }
        let shown = refused(&(with("{dns: \"tcp://db.internal:5432\"}") + "    max_body: 1MiB\n"));
        assert!(shown.contains("`max_body` is for HTTP"), "{shown}");
    }

    #[test]
    fn what_only_http_has_is_a_mistake() {
        for (line, message) in [
            ("path_prefix: /a", "`path_prefix` is for HTTP"),
            ("max_body: 1MiB", "`max_body` is for HTTP"),
            ("max_hold: 1m", "`max_hold` is for HTTP"),
            ("anonymous: true", "`anonymous` is for HTTP"),
            ("operations: {inline: {a: GET /a}}", "`inline` is for HTTP"),
            ("headers: {request: {remove: [x-a]}}", "`headers` is for HTTP"),
            ("cors: {origins: [\"https://a.example.com\"]}", "`cors` is for HTTP"),
            ("tcp: {idle: 25h}", "`idle` is 1d at most"),
            ("tcp: {max_bytes: 5}", "`max_bytes` must be text"),
        ] {
            let shown = refused(&format!("{SOUND}{SERVICE}    {line}\n"));
            assert!(shown.contains(message), "{line}: {shown}");
        }
    }

    #[test]
    fn http_and_tcp_do_not_mix() {
        let shown = refused(&format!("{SOUND}    tcp: {{idle: 1h}}\n"));
        assert!(shown.contains("`tcp` is for services that speak TCP"), "{shown}");
        let mixed = SERVICE.replace("tls://db.example.com", "http://db.example.com");
        let shown = refused(&format!("{SOUND}{mixed}"));
        assert!(shown.contains("some instances of it speak TCP, and others HTTP"), "{shown}");
        let timed = SERVICE.replace("}}", "}, timeouts: {request: 5s}}");
        let shown = refused(&format!("{SOUND}{timed}"));
        assert!(shown.contains("`request` is for HTTP"), "{shown}");
        for url in ["tcp://10.0.0.5", "tcp://u:p@10.0.0.5:1", "tcp://10.0.0.5:1/db"] {
            let wrong = SERVICE.replace("tcp://10.0.0.5:5432", url);
            let shown = refused(&format!("{SOUND}{wrong}"));
            assert!(shown.contains("tcp://10.0.0.5:5432"), "{url}: {shown}");
        }
    }
}
