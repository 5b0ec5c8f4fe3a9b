//! Microsoft Teams: a card that a workflow posts ("When a Teams webhook request is received").
//!
//! What others wrote stands in text runs alone, which render no markdown and so neither links, lists nor
//! mentions. A workflow cannot change a card later: how it ended is said in another one, which names the first.

use serde_json::{Value, json};

use super::Summary;

/// Adaptive Cards 1.4: the newest that all of Teams' clients draw.
const VERSION: &str = "1.4";
/// A message is 28 KB at most, and the flow wraps what it is given.
const MOST_BYTES: usize = 24 * 1024;

/// What is posted to the workflow.
pub fn card(summary: &Summary) -> String {
    let mut shown = summary.facts.len();
    loop {
        let text = message(summary, shown).to_string();
        if text.len() <= MOST_BYTES || shown == 0 {
            return text;
        }
        shown -= 1;
    }
}

fn message(summary: &Summary, shown: usize) -> Value {
    let mut body = vec![json!({
        "type": "TextBlock", "text": summary.title, "size": "Medium", "weight": "Bolder", "wrap": true,
    })];
    body.push(line("", &summary.subject));
    body.extend(summary.facts.iter().take(shown).map(|(name, value)| line(name, value)));
    if shown < summary.facts.len() {
        body.push(line("", "… (truncated: the page shows all of it)"));
    }
    let label = if summary.waits { "Open the review page" } else { "Open its page" };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": VERSION,
                "fallbackText": format!("{}: {}", summary.title, summary.link),
                "body": body,
                "actions": [
                    {"type": "Action.OpenUrl", "title": label, "url": summary.link},
                ],
            },
        }],
    })
}

fn line(name: &str, value: &str) -> Value {
    let run = |text: String, bold: bool| json!({"type": "TextRun", "text": text, "weight": if bold { "Bolder" } else { "Default" }});
    let mut inlines = Vec::new();
    if !name.is_empty() {
        inlines.push(run(format!("{name}: "), true));
    }
    inlines.push(run(inert(value), name.is_empty()));
    json!({"type": "RichTextBlock", "inlines": inlines})
}

/// Cards know two things in braces, dates and templates, also where there is no markdown.
fn inert(text: &str) -> String {
    text.replace("{{", "{ {").replace("${", "$ {")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(value: &str) -> Summary {
        Summary {
            title: "Access request",
            subject: value.to_owned(),
            facts: vec![("Why", value.to_owned()), ("Who", value.to_owned())],
            link: "https://portcullis.example.com/requests/01".to_owned(),
            thread: "01".to_owned(),
            waits: true,
        }
    }

    #[test]
    fn e15_what_others_wrote_is_in_text_runs_alone() {
        let nasty = "[ok](https://evil.example) **b** <at>all</at> {{DATE(2026)}} ${secret}";
        let card: Value = serde_json::from_str(&card(&summary(nasty))).unwrap();
        let content = &card["attachments"][0]["content"];
        let body = content["body"].as_array().unwrap();
        let runs = body.iter().filter(|one| one["type"] == "RichTextBlock").count();
        assert_eq!(runs + 1, body.len(), "one heading, which is ours");
        assert_eq!(body[0]["text"], "Access request");
        let text = content.to_string();
        assert!(!text.contains("{{") && !text.contains("${"), "{text}");
        assert!(content.get("msteams").is_none(), "nobody is mentioned");
        assert_eq!(content["actions"][0]["url"], "https://portcullis.example.com/requests/01");
        assert_eq!(content["actions"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_card_is_never_too_long_and_says_what_is_missing() {
        for long in [100, 5_000, 20_000, 100_000] {
            let mut summary = summary(&"ü".repeat(long));
            summary.subject = "ana asks for payments".to_owned();
            let text = card(&summary);
            assert!(text.len() <= MOST_BYTES, "{long}: {}", text.len());
            assert_eq!(text.contains("truncated"), long > 5_000, "{long}");
        }
    }
}
