//! The few pages for people with a browser: what a problem means, and which command to run.
//! Plain documents without script or style, so that nothing in them can be made to act.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::Html,
    routing::get,
};
use portcullis_model::RefusalId;

use crate::{parts::Shared, problem_kind::ProblemKind};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(start))
        .route("/ask/{id}", get(ask))
        .route("/problems/{code}", get(problem))
}

async fn start(State(api): State<Shared>) -> Html<String> {
    let command = format!("portcullis login {}", api.base_url);
    page("Portcullis", &[Part::Text("Sign in on the command line:"), Part::Command(&command)])
}

async fn ask(Path(id): Path<String>) -> (StatusCode, Html<String>) {
    match id.parse::<RefusalId>() {
        Ok(id) => {
            let command = format!("portcullis ask {id}");
            let parts = [
                Part::Text("To see what would open the gate, and to ask for it, run:"),
                Part::Command(&command),
            ];
            (StatusCode::OK, page("Access can be asked for", &parts))
        }
        Err(_) => missing("This is not the code of a refusal. A code has four characters."),
    }
}

async fn problem(Path(code): Path<String>) -> (StatusCode, Html<String>) {
    match ProblemKind::lookup(&code) {
        Some(kind) => {
            let facts = kind.facts();
            let status = format!("It comes with status {}.", facts.status);
            let parts = [Part::Text(facts.meaning), Part::Text(facts.remedy), Part::Text(&status)];
            (StatusCode::OK, page(facts.title, &parts))
        }
        None => missing("There is no problem with this code."),
    }
}

fn missing(text: &str) -> (StatusCode, Html<String>) {
    (StatusCode::NOT_FOUND, page("Not found", &[Part::Text(text)]))
}

enum Part<'a> {
    Text(&'a str),
    Command(&'a str),
}

fn page(title: &str, parts: &[Part<'_>]) -> Html<String> {
    let title = escaped(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head>\
         <body><main><h1>{title}</h1>"
    );
    for part in parts {
        let (open, text, close) = match part {
            Part::Text(text) => ("<p>", text, "</p>"),
            Part::Command(text) => ("<pre><code>", text, "</code></pre>"),
        };
        html.extend([open, &escaped(text), close]);
    }
    html.push_str("</main></body></html>\n");
    Html(html)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_on_a_page_is_never_markup() {
        let Html(html) = page("a", &[Part::Command("<script>\"'&")]);
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;") && !html.contains("<script>"));
    }
}
