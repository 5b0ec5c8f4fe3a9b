//! E-mail: what stands in a mail. Opening its link changes nothing; signing in comes first.

use std::fmt::Write;

use super::{Summary, text::html};

/// The subject of a mail is longer than this in no list of mails.
const LONGEST_SUBJECT: usize = 120;

/// What a mail says, before anything is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML: nothing is loaded from anywhere, and nothing in it but the link leads anywhere.
    pub html: String,
}

impl Mail {
    /// About what `summary` is about.
    pub fn new(summary: &Summary) -> Self {
        let subject = super::text::visible(&summary.subject, LONGEST_SUBJECT);
        let mut text = format!("{}: {}\n\n", summary.title, summary.subject);
        let mut rows = String::new();
        for (name, value) in &summary.facts {
            let _infallible = writeln!(text, "{name}: {value}");
            let _infallible = write!(
                rows,
                "<tr><th align=\"left\" valign=\"top\">{}</th><td><bdi>{}</bdi></td></tr>",
                html(name),
                html(value)
            );
        }
        let (review, open) = if summary.waits {
            ("Review it", "Open the review page")
        } else {
            ("Its page", "Open its page")
        };
        let _infallible = write!(
            text,
            "\n{review}, after signing in:\n{}\n\nThis mail carries no right, and opening the page changes nothing.\n",
            summary.link
        );
        let link = html(&summary.link);
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\
             <h1>{title}</h1><p><bdi>{subject}</bdi></p><table>{rows}</table>\
             <p><a href=\"{link}\">{open}</a>: {link}</p>\
             <p>This mail carries no right, and opening the page changes nothing.</p></body></html>",
            title = html(summary.title),
            subject = html(&summary.subject),
        );
        Self { subject: format!("{}: {subject}", summary.title), text, html }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_a_mail_says_what_was_written_and_no_more() {
        let nasty = "<img src=x onerror=alert(1)>\"'&";
        let mail = Mail::new(&Summary {
            title: "Access request",
            subject: format!("{nasty}{}", "x".repeat(200)),
            facts: vec![("Why", nasty.to_owned())],
            link: "https://portcullis.example.com/requests/01?a&b".to_owned(),
            thread: "01".to_owned(),
            waits: true,
        });
        assert!(!mail.html.contains("<img"), "{}", mail.html);
        assert_eq!(mail.html.matches("href=").count(), 1);
        assert!(mail.html.contains("requests/01?a&amp;b") && mail.text.contains("requests/01?a&b"));
        assert!(mail.text.contains(nasty) && mail.subject.contains("truncated"));
    }
}
