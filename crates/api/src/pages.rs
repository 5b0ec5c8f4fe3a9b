//! What a problem means, for people with a browser, and plain documents around a sign-in: without script, so
//! that nothing in them can be made to act. All else is in the console.

use crate::{parts::Shared, problem_kind::ProblemKind};
use axum::{
    Router,
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_SECURITY_POLICY},
    response::Html,
    routing::get,
};

/// The gate's refusal pages look the same.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:0 auto;\
padding:2rem 1rem;color:#1a1a1a;background:#fff}h1{font-size:1.6rem;line-height:1.2}\
button,.button{font:inherit;display:inline-block;padding:.5rem 1.25rem;border:1px solid;\
border-radius:.3rem;color:inherit;background:none;text-decoration:none;cursor:pointer}\
ul.choice{list-style:none;padding:0}ul.choice li{margin:.75rem 0}pre{padding:.75rem 1rem;overflow-x:auto;background:#eee;border-radius:.3rem}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}pre{background:#333}}";
/// Like every answer's policy, and the style above may apply.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
form-action 'self'; frame-ancestors 'none'";

/// A page as it is sent.
pub(crate) type Page = ([(HeaderName, HeaderValue); 1], Html<String>);

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/problems/{code}", get(problem))
}

async fn problem(Path(code): Path<String>) -> (StatusCode, Page) {
    match ProblemKind::lookup(&code) {
        Some(kind) => {
            let facts = kind.facts();
            let status = format!("It comes with status {}.", facts.status);
            let parts = [facts.meaning, facts.remedy, &status];
            (StatusCode::OK, page(facts.title, &parts))
        }
        None => missing("There is no problem with this code."),
    }
}

fn missing(text: &str) -> (StatusCode, Page) {
    (StatusCode::NOT_FOUND, page("Not found", &[text]))
}

fn page(title: &str, parts: &[&str]) -> Page {
    let mut html = String::new();
    for text in parts {
        html.extend(["<p>", &escaped(text), "</p>"]);
    }
    document(title, &html)
}

/// A page of ours; `body` is markup.
pub(crate) fn document(title: &str, body: &str) -> Page {
    let title = escaped(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    ([(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))], Html(html))
}

pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match entity(c) {
            Some(entity) => safe.push_str(entity),
            None => safe.push(c),
        }
    }
    safe
}

/// What stands for a character that would be markup, in text and in attributes.
pub(crate) const fn entity(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_on_a_page_is_never_markup() {
        let (_, Html(html)) = page("a", &["<script>\"'&"]);
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;") && !html.contains("<script>"));
    }
}
