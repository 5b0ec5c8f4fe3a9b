//! What is a path, what is not, and why.

use super::*;

fn steps(text: &str) -> Vec<Step> {
    text.parse::<Path>().unwrap().steps().to_vec()
}

fn name(name: &str) -> Selector {
    Selector::Name(name.into())
}

#[test]
fn names_wildcards_descendants_and_elements_are_read() {
    let step = |is_deep, selectors: &[Selector]| Step { is_deep, selectors: selectors.to_vec() };
    assert_eq!(steps("$"), []);
    assert_eq!(
        steps("$.card.number"),
        [step(false, &[name("card")]), step(false, &[name("number")])]
    );
    assert_eq!(steps("$..e_mail2"), [step(true, &[name("e_mail2")])]);
    assert_eq!(
        steps("$ ['a b' , \"c\\u0064\", 'it\\'s'][*].*"),
        [
            step(false, &[name("a b"), name("cd"), name("it's")]),
            step(false, &[Selector::Any]),
            step(false, &[Selector::Any])
        ]
    );
    let elements =
        [Selector::Elements(0, 1), Selector::Elements(2, 5), Selector::Elements(0, u64::MAX)];
    assert_eq!(steps("$..[0, 2:5, : :1]"), [step(true, &elements)]);
    assert_eq!(
        steps("$['\\ud83d\\ude00'].ü"),
        [step(false, &[name("\u{1f600}")]), step(false, &[name("ü")])]
    );
}

#[test]
fn what_cannot_be_followed_says_where_and_why() {
    for (text, told) in [
        ("card.number", "at character 1: a path starts with `$`"),
        ("$.items[?@.price > 1]", "at character 9: a filter needs what comes later"),
        ("$.items[-1]", "at character 9: an index from the end"),
        ("$.items[0:-1]", "at character 11: an index from the end"),
        ("$.items[::2]", "at character 11: a slice with a step"),
        ("$.items[::-1]", "at character 11: a slice with a step"),
        ("$.length()", "at character 9: functions belong to filters"),
        ("$.a.", "at character 5: a name or `*` was expected"),
        ("$...a", "at character 4: a name or `*`"),
        ("$a", "at character 2: `.`, `..` or `[`"),
        ("$.a ", "`.`, `..` or `[` was expected"),
        ("$[01]", "no leading zeros"),
        ("$[9007199254740992]", "below 2^53"),
        ("$['a]", "does not end"),
        ("$['\\x']", "no such escape"),
        ("$['\\ud800']", "no such escape"),
        ("$['\u{1}']", "control character"),
        ("$[]", "a quoted name"),
        ("$['a' 'b']", "`,` or `]`"),
        ("$.1", "a name or `*`"),
    ] {
        let error = text.parse::<Path>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(format!("$.{}", "a".repeat(2000)).parse::<Path>().is_err());
}
