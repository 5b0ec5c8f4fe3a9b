//! Refusals for browsers: one page without scripts, links to nowhere else, everything escaped.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use portcullis_model::{Problem, Way};

use crate::body::DownBody;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:38rem;margin:0 auto;\
padding:2rem 1rem;color:#182022;background:#f6f7f7}h1{font-size:1.5rem;line-height:1.25}\
h2{font-size:1.05rem;margin:1.5rem 0 .5rem}ol{list-style:none;padding:0;margin:0}\
li{background:#fff;border:1px solid #d5dbdb;border-radius:.5rem;padding:.6rem 1rem;margin:.5rem 0}\
button,.button{font:inherit;font-weight:600;display:inline-block;line-height:1.65rem;padding:.55rem 1.25rem;\
border:0;border-radius:.5rem;color:#fff;background:#1f5d57;text-decoration:none;cursor:pointer}\
small,.soft{color:#526063}a{color:#1f5d57}code{background:#eef1f1;padding:.1rem .3rem;border-radius:.25rem}\
body{overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#e6ecec;background:#111516}\
li{background:#181e1f;border-color:#333d3e}code{background:#222a2b}small,.soft{color:#a3b1b2}\
a{color:#7fd1c4}button,.button{color:#0c1f1c;background:#7fd1c4}}";

/// A problem as a page.
pub(super) fn response(
    problem: &Problem,
    ask: Option<&str>,
    step_up: Option<&str>,
) -> Response<DownBody> {
    sent(page(problem, ask, step_up))
}

/// A page of the gate's own; `body` is markup.
pub(crate) fn document(title: &str, body: &str) -> Response<DownBody> {
    let title = escape(title);
    sent(written(&title, &format!("<h1>{title}</h1>{body}")))
}

fn sent(page: String) -> Response<DownBody> {
    let mut response = Response::new(DownBody::whole(Bytes::from(page)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                  form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// `ask` is where control takes the question, with the page to come back to.
pub(super) fn page(problem: &Problem, ask: Option<&str>, step_up: Option<&str>) -> String {
    let mut body = format!("<h1>{} · {}</h1>", problem.status, escape(&problem.title));
    if let Some(detail) = &problem.detail {
        let _ = write!(body, "<p>{}</p>", escape(detail));
    }
    if !problem.ways.is_empty() {
        body += "<h2>What would open it</h2><ol>";
        for way in &problem.ways {
            let (words, rule) = (escape(&words(way)), escape(way.rule.as_str()));
            let _ = write!(body, "<li>{words}<br><small>{rule}</small></li>");
        }
        body += "</ol>";
    }
    if let Some(address) = ask {
        let address = escape(address);
        let _ = write!(body, "<p><a class=\"button\" href=\"{address}\">Ask for access</a></p>");
    }
    if let Some(command) = &problem.ask {
        let command = escape(command);
        let _ = write!(body, "<p class=\"soft\">or in a terminal: <code>{command}</code></p>");
    }
    if let Some(address) = step_up {
        let _ = write!(
            body,
            "<p>If a rule asks for a recent or a stronger sign-in, \
             <a href=\"{}\">sign in again</a>.</p>",
            escape(address)
        );
    }
    if let Some(request) = &problem.request {
        let _ = write!(body, "<p><small>Request {}</small></p>", escape(request));
    }
    written(&escape(&problem.title), &body)
}

fn written(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    )
}

/// `At once, for 30m at most`; `With a review by Lea, for 15m at most, for one request`.
fn words(way: &Way) -> String {
    let who = match way.reviewers.as_slice() {
        [] => String::new(),
        reviewers => format!(" by {}", reviewers.join(", ")),
    };
    let how = match way.reviews {
        0 if way.is_emergency() => "In an emergency, reviewed afterwards".to_owned(),
        0 => "At once".to_owned(),
        1 => format!("With a review{who}"),
        reviews => format!("With {reviews} reviews{who}"),
    };
    let uses = match way.max_uses {
        None => String::new(),
        Some(1) => ", for one request".to_owned(),
        Some(uses) => format!(", for {uses} requests"),
    };
    format!("{how}, for {} at most{uses}", way.max_duration)
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
