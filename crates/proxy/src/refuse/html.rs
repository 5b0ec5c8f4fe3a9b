//! Refusals for browsers: one page without scripts, links to nowhere else, everything escaped.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use portcullis_model::Problem;

use crate::body::DownBody;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;\
padding:0 1rem;color:#1a1a1a;background:#fff}code{background:#eee;padding:.1rem .3rem}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}code{background:#333}}";

/// A problem as a page.
pub(super) fn response(problem: &Problem) -> Response<DownBody> {
    let mut response = Response::new(DownBody::whole(Bytes::from(page(problem))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(super) fn page(problem: &Problem) -> String {
    let mut body = format!("<h1>{} · {}</h1>", problem.status, escape(&problem.title));
    if let Some(detail) = &problem.detail {
        let _ = write!(body, "<p>{}</p>", escape(detail));
    }
    if !problem.ways.is_empty() {
        body += "<h2>What would open it</h2><ol>";
        for way in &problem.ways {
            let who = match way.reviewers.as_slice() {
                [] => String::new(),
                reviewers => format!(" by {}", reviewers.join(", ")),
            };
            let (kind, window) = (way.kind.as_str(), way.max_duration);
            let line = format!("{}: {kind}{who}, for {window} at most", way.rule);
            let _ = write!(body, "<li>{}</li>", escape(&line));
        }
        body += "</ol>";
    }
    if let Some(ask) = &problem.ask {
        let _ = write!(body, "<p>Ask with <code>{}</code></p>", escape(ask));
    }
    if let Some(url) = &problem.ask_url {
        let _ = write!(body, "<p>or at <a href=\"{0}\">{0}</a></p>", escape(url));
    }
    if let Some(request) = &problem.request {
        let _ = write!(body, "<p><small>Request {}</small></p>", escape(request));
    }
    let title = escape(&problem.title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
