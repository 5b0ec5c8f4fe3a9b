//! The provider's two pages: choose who you are; done.

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::people::PEOPLE;

/// A page that asks who somebody is. `fields` go back with the answer.
pub(super) fn choose(action: &str, intro: &str, fields: &[(&str, &str)]) -> Response {
    let hidden = fields.iter().map(|(name, value)| {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value))
    });
    let buttons = PEOPLE.iter().map(|person| {
        format!(
            "<p><button name=\"person\" value=\"{}\">{}</button> {}</p>\n",
            person.subject, person.name, person.role
        )
    });
    let (hidden, buttons): (String, String) = (hidden.collect(), buttons.collect());
    let form = format!("<form method=\"post\" action=\"{action}\">\n{hidden}{buttons}</form>");
    page(StatusCode::OK, "Who are you?", &format!("<p>{}</p>\n{form}", escaped(intro)))
}

/// A page that asks for the code on the person's terminal.
pub(super) fn ask_for_code() -> Response {
    let form = "<form method=\"get\" action=\"/device\">\n\
        <p><label>Code <input name=\"user_code\" autocomplete=\"off\" required></label>\n\
        <button>Go on</button></p></form>";
    page(StatusCode::OK, "Sign a device in", form)
}

/// A page that says something.
pub(super) fn say(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, title, &format!("<p>{}</p>", escaped(text)))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<p><em>The demo's identity provider: no passwords here.</em></p>\n{body}\n</html>\n"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, Html(html)).into_response()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}
