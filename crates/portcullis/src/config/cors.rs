//! `services[].cors`: whose pages a service is shared with.

use http::{HeaderName, Method};
use portcullis_model::Window;
use portcullis_policy::edge;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::section::Field;

/// Browsers on pages of other origins: preflights are answered by the gate, and answers say who may
/// read them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Cors {
    /// The origins of pages: `https://app.example.com`. `"*"` alone stands for all.
    pub(crate) origins: Vec<String>,
    /// What pages may send; default `[GET, HEAD, POST, PUT, PATCH, DELETE]`.
    pub(crate) methods: Vec<String>,
    /// The headers that pages may set; default those that the gate reads, and `Content-Type`.
    pub(crate) headers: Vec<String>,
    /// Whether cookies and client certificates may go along; default no.
    pub(crate) credentials: bool,
    /// How long browsers remember what they may; default `10m`, at most `24h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) max_age: Window,
    /// Headers of answers that pages may read, beside those of the gate.
    pub(crate) expose: Vec<String>,
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS: [&str; 6] = [
    "Authorization",
    "Content-Type",
    "DPoP",
    "Prefer",
    "Portcullis-Authorization",
    "Portcullis-Instance",
];
const EVERYBODY: &str = "*";

impl Cors {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let given = section.required("origins");
        let origins: Vec<String> = given
            .as_ref()
            .map(|field| field.list().iter().filter_map(origin).collect())
            .unwrap_or_default();
        let named = |field: Option<Field<'_>>, read: fn(&Field<'_>) -> Option<String>| {
            field.map(|field| field.list().iter().filter_map(read).collect::<Vec<_>>())
        };
        let methods = named(section.field("methods"), method);
        let headers = named(section.field("headers"), header);
        let expose = named(section.field("expose"), header);
        let credentials = section.field("credentials");
        let credentials = credentials.map_or(Some(false), |field| field.boolean());
        let max_age = section.field("max_age");
        let max_age = max_age.map_or(Some(Window::minutes(10)), |field| longest(&field));
        section.finish();
        let given = given?;
        let everybody = origins.iter().any(|origin| origin == EVERYBODY);
        if given.is_list() && given.list().is_empty() {
            let help = Some("name the origins of pages, or take `cors` out".into());
            given.error("the service is shared with nobody".into(), help);
        } else if everybody && credentials == Some(true) {
            let help = Some("name the origins".into());
            given
                .error("any page on the web could act with its visitor's credentials".into(), help);
        } else if everybody && origins.len() > 1 {
            given.error("`*` is everybody: others beside it mean nothing".into(), None);
        }
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Some(Self {
            origins,
            methods: methods.unwrap_or_else(|| texts(&METHODS)),
            headers: headers.unwrap_or_else(|| texts(&HEADERS)),
            credentials: credentials?,
            max_age: max_age?,
            expose: expose.unwrap_or_default(),
        })
    }

    /// As the bundle has it.
    pub(super) fn source(&self) -> edge::Cors {
        let everybody = self.origins.iter().any(|origin| origin == EVERYBODY);
        edge::Cors {
            origins: if everybody {
                edge::Origins::Any
            } else {
                edge::Origins::These(self.origins.clone())
            },
            methods: self.methods.join(", "),
            headers: self.headers.join(", "),
            credentials: self.credentials,
            max_age: self.max_age.get().as_secs(),
            expose: self.expose.join(", "),
        }
    }
}

/// As browsers write it: scheme, host and perhaps a port, and nothing else.
fn origin(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text == EVERYBODY {
        return Some(text.to_owned());
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let written = url.map(|url| url.origin().ascii_serialization());
    // A pattern would match nothing: browsers write no star.
    if written.as_deref() != Some(text) || text.contains('*') {
        let help = match written.filter(|written| !written.contains('*')) {
            Some(written) => format!("write {written}"),
            None => "write it like https://app.example.com".into(),
        };
        field.error(format!("`{text}` is not an origin as browsers write it"), Some(help));
        return None;
    }
    written
}

fn method(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let known = Method::from_bytes(text.as_bytes());
    if !known.is_ok_and(|method| METHODS.contains(&method.as_str())) {
        let help = Some(format!("it is one of {}", METHODS.join(", ")));
        field.error(format!("pages cannot send `{text}`"), help);
        return None;
    }
    Some(text.to_owned())
}

fn header(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text == EVERYBODY || HeaderName::from_bytes(text.as_bytes()).is_err() {
        let help = Some("name each header".into());
        field.error(format!("`{text}` is not the name of a header"), help);
        return None;
    }
    Some(text.to_owned())
}

fn longest(field: &Field<'_>) -> Option<Window> {
    let longest: Window = field.parsed()?;
    if longest > Window::minutes(24 * 60) {
        field.error(format!("`max_age` is 24h at most, and not {longest}"), None);
        return None;
    }
    Some(longest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(cors: &str) -> String {
        SOUND.replace("9000\"}\n", &format!("9000\"}}\n    cors: {cors}\n"))
    }

    #[test]
    fn n14_a_service_is_shared_with_origins_as_browsers_write_them() {
        for cors in [
            r#"{origins: ["https://app.example.com", "http://localhost:3000"]}"#,
            r#"{origins: ["*"]}"#,
            r#"{origins: ["https://a.example"], methods: [GET, POST], headers: [X-Mine], credentials: true, max_age: 1h, expose: [ETag]}"#,
        ] {
            let loaded = loaded(&with(cors)).unwrap_or_else(|error| panic!("{cors}: {error}"));
            assert!(loaded.bundle.services[0].edge.cors.is_some(), "{cors}");
        }
    }

    #[test]
    fn n14_what_shares_more_than_it_says_does_not_load() {
        for (cors, message) in [
            ("{}", "lacks `origins`"),
            ("{origins: []}", "the service is shared with nobody"),
            (r#"{origins: ["*"], credentials: true}"#, "act with its visitor's credentials"),
            (r#"{origins: ["*", "https://a.example"]}"#, "`*` is everybody"),
            (r#"{origins: ["https://a.example/"]}"#, "write https://a.example"),
            (r#"{origins: ["https://A.example:443"]}"#, "write https://a.example"),
            (r#"{origins: ["https://*.example"]}"#, "is not an origin as browsers write it"),
            (r#"{origins: ["null"]}"#, "`null` is not an origin"),
            (r#"{origins: ["https://a.example"], methods: [get]}"#, "pages cannot send `get`"),
            (r#"{origins: ["https://a.example"], headers: ["*"]}"#, "is not the name of a header"),
            (r#"{origins: ["https://a.example"], max_age: 25h}"#, "24h at most"),
            (r#"{origins: ["https://a.example"], origin: x}"#, "unknown key `origin`"),
        ] {
            let shown = refused(&with(cors));
            assert!(shown.contains(message), "{cors}: {shown}");
        }
    }
}
