//! Routing and matching.

use proptest::prelude::*;

use super::*;
use crate::catalog::{
    template::{Segment, Template},
    trie::Trie,
};

fn routed(catalog: &Catalog, host: &str, path: &str) -> Option<(String, Option<String>)> {
    let found = catalog.route(host, path)?;
    Some((found.service.source().name.to_string(), found.instance.map(ToString::to_string)))
}

#[test]
fn the_longest_prefix_wins_segment_by_segment() {
    let mut refunds = service("refunds", OperationsSource::Methods);
    refunds.hosts = vec!["payments.example.com".to_owned()];
    refunds.path_prefix = Some("/refunds/".to_owned());
    let all = service("payments", OperationsSource::Methods);
    let catalog = Catalog::load(&[all, refunds]).unwrap();
    let name = |path| routed(&catalog, "payments.example.com", path).unwrap().0;
    assert_eq!(name("/"), "payments");
    assert_eq!(name("/refunds"), "refunds");
    assert_eq!(name("/refunds/7"), "refunds");
    assert_eq!(name("/refundsx"), "payments");
    assert!(catalog.route("other.example.com", "/").is_none());
    assert!(catalog.route("payments.example.com", "*").is_none());
}

#[test]
fn an_instance_is_addressed_by_host_and_an_unknown_one_is_nowhere() {
    let catalog = payments(OperationsSource::Methods);
    let at = |host| routed(&catalog, host, "/x");
    let name = || "payments".to_owned();
    assert_eq!(at("payments.example.com"), Some((name(), None)));
    assert_eq!(at("payments--p-2.example.com"), Some((name(), Some("p-2".to_owned()))));
    assert_eq!(at("payments--p-9.example.com"), None);
    assert_eq!(at("other--p-2.example.com"), None);
}

#[test]
fn an_addressed_host_leads_to_no_other_service_than_its_plain_host_does() {
    let mut refunds = service("refunds", OperationsSource::Methods);
    refunds.hosts = vec!["payments.example.com".to_owned()];
    refunds.path_prefix = Some("/refunds".to_owned());
    refunds.instances = IndexMap::from([("r-1".parse().unwrap(), "http://r:1".to_owned())]);
    let catalog =
        Catalog::load(&[service("payments", OperationsSource::Methods), refunds]).unwrap();
    assert_eq!(routed(&catalog, "payments--p-1.example.com", "/refunds/1"), None);
    assert_eq!(routed(&catalog, "payments--r-1.example.com", "/x"), None);
    let found = routed(&catalog, "payments--r-1.example.com", "/refunds/1").unwrap();
    assert_eq!(found, ("refunds".to_owned(), Some("r-1".to_owned())));
}

#[test]
fn b15_an_admin_template_never_matches_administrator() {
    let catalog = payments(inline(&[
        ("panel", "GET /admin/x"),
        ("dots", "GET /a.c"),
        ("item", "GET /items/{id}"),
    ]));
    let is = |path| matched(&catalog, "GET", path);
    assert_eq!(is("/admin/x"), Some("panel"));
    assert_eq!(is("/a.c"), Some("dots"));
    assert_eq!(is("/abc"), None, "a dot is a dot");
    assert_eq!(is("/administrator/x"), None);
    assert_eq!(is("/admin"), None);
    assert_eq!(is("/admin/x/"), None);
    assert_eq!(is("/items/7"), Some("item"));
    assert_eq!(is("/items/"), None);
    assert_eq!(is("/items/7/8"), None);
    assert_eq!(is("/items"), None);
}

#[test]
fn a_literal_beats_a_parameter_and_the_walk_comes_back() {
    let catalog = payments(inline(&[
        ("any", "GET /a/{x}"),
        ("own", "GET /a/me"),
        ("deep", "GET /a/{x}/c"),
        ("other", "GET /a/me/d"),
        ("root", "GET /"),
    ]));
    let is = |path| matched(&catalog, "GET", path);
    assert_eq!(is("/a/me"), Some("own"));
    assert_eq!(is("/a/you"), Some("any"));
    assert_eq!(is("/a/me/c"), Some("deep"));
    assert_eq!(is("/a/me/d"), Some("other"));
    assert_eq!(is("/"), Some("root"));
    assert_eq!(matched(&catalog, "POST", "/a/me"), None);
    assert_eq!(matched(&catalog, "get", "/a/me"), None);
}

#[test]
fn b05_a_literal_in_disguise_matches_nothing() {
    let catalog =
        payments(inline(&[("one", "GET /a/{x}"), ("own", "GET /a/me"), ("deep", "GET /{y}/{x}")]));
    assert_eq!(matched(&catalog, "GET", "/a/%6de"), None);
    assert_eq!(matched(&catalog, "GET", "/a/%6De"), None);
    assert_eq!(matched(&catalog, "GET", "/%61/you"), None);
    assert_eq!(matched(&catalog, "GET", "/a/m%20e"), Some("one"));
    assert_eq!(matched(&catalog, "GET", "/a/%256de"), Some("one"), "decoded once");
}

#[test]
fn head_is_the_get_of_its_path_unless_declared() {
    let catalog = payments(inline(&[
        ("list", "GET /a"),
        ("item", "GET /a/{x}"),
        ("probe", "HEAD /a/{y}"),
        ("create", "POST /b"),
    ]));
    assert_eq!(matched(&catalog, "HEAD", "/a"), Some("list"));
    assert_eq!(matched(&catalog, "HEAD", "/a/1"), Some("probe"));
    assert_eq!(matched(&catalog, "HEAD", "/b"), None);
}

#[test]
fn without_declarations_each_method_is_an_operation() {
    let catalog = payments(OperationsSource::Methods);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(matched(&catalog, method, "/any/where"), Some(method));
    }
    assert_eq!(matched(&catalog, "TRACE", "/"), None);
    assert_eq!(matched(&catalog, "get", "/"), None);
}

#[test]
fn path_parameters_come_raw_and_in_order() {
    let catalog = payments(inline(&[("both", "GET /a/{x}/b/{y}")]));
    let service = catalog.service(&"payments".parse().unwrap()).unwrap();
    let found = service.matching("GET", "/a/1%202/b/z").unwrap();
    assert_eq!(found.path_params, [("x", "1%202".to_owned()), ("y", "z".to_owned())]);
}

/// The best of all templates that match, without a trie.
fn naive(templates: &[Template], path: &str) -> Option<usize> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let fits = |template: &Template| {
        template.segments().len() == parts.len()
            && template.segments().iter().zip(&parts).all(|(segment, part)| match segment {
                Segment::Literal(text) => **text == **part,
                Segment::Param(_) => !part.is_empty(),
            })
    };
    let rank = |template: &Template| -> Vec<bool> {
        template.segments().iter().map(|segment| matches!(segment, Segment::Param(_))).collect()
    };
    let fitting = templates.iter().enumerate().filter(|(_, template)| fits(template));
    fitting.min_by_key(|(_, template)| rank(template)).map(|(index, _)| index)
}

fn template_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "{}"]), 1..5).prop_map(
        |parts| {
            let part = |(index, part): (usize, &&str)| match *part {
                "{}" => format!("/{{p{index}}}"),
                literal => format!("/{literal}"),
            };
            parts.iter().enumerate().map(part).collect()
        },
    )
}

proptest! {
    #[test]
    fn the_trie_agrees_with_a_naive_matcher(
        texts in prop::collection::vec(template_text(), 1..12),
        paths in prop::collection::vec("(/(a|b|ab|c|)){1,5}", 1..20),
    ) {
        let mut trie = Trie::default();
        let mut templates: Vec<Template> = Vec::new();
        for text in texts {
            let template = Template::parse("", &text).unwrap();
            if trie.insert(&template, templates.len()).is_ok() {
                templates.push(template);
            }
        }
        for path in paths {
            prop_assert_eq!(trie.lookup(&path), naive(&templates, &path), "{}", path);
        }
    }

    #[test]
    fn no_path_breaks_the_matcher(path in "\\PC{0,40}") {
        let catalog = payments(inline(&[("any", "GET /a/{x}"), ("own", "GET /a/me")]));
        let service = catalog.service(&"payments".parse().unwrap()).unwrap();
        if let Some(found) = service.matching("GET", &path) {
            prop_assert!(path.starts_with("/a/"));
            prop_assert!(found.path_params.iter().all(|(_, value)| !value.contains('/')));
        }
    }
}
