//! D22: an answer is good for its whole question and for no other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{EndpointUrl, Mapping};

/// Everything that makes up a question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    name: String,
    issuer: Option<bool>,
    at: usize,
    client: String,
    audience: Option<String>,
    scopes: Vec<String>,
    token: String,
}

impl Asked {
    fn question(&self) -> Question {
        let place = ["https://a.example", "https://a.example/b", "https://b.example"][self.at];
        let issuer: IssuerUrl = place.parse().unwrap();
        let endpoint: EndpointUrl = place.parse().unwrap();
        let introspection = match self.issuer {
            None => Introspection::Discovered { issuer, endpoint_hosts: Vec::new() },
            Some(true) => Introspection::At { endpoint, issuer: Some(issuer) },
            Some(false) => Introspection::At { endpoint, issuer: None },
        };
        let config = OpaqueIssuer {
            name: self.name.clone(),
            introspection,
            client_id: self.client.clone(),
            client_secret: Secret::new("s"),
            prefix: None,
            audience: self.audience.clone(),
            scopes: self.scopes.clone(),
            mapping: Mapping { claims: BTreeMap::new(), ..Mapping::default() },
            answer: Duration::from_secs(30),
        };
        let mut whole = frame(&config);
        part(&mut whole, &self.token);
        whole.finalize().into()
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let text = || "[ab]{1,3}";
    let audience = proptest::option::of(text());
    let scopes = proptest::collection::vec(text(), 0..3);
    (text(), proptest::option::of(any::<bool>()), 0..3_usize, text(), audience, scopes, text())
        .prop_map(|(name, issuer, at, client, audience, scopes, token)| Asked {
            name,
            issuer,
            at,
            client,
            audience,
            scopes,
            token,
        })
}

proptest! {
    #[test]
    fn d22_two_questions_share_an_answer_only_if_they_are_one(one in asked(), other in asked()) {
        prop_assert_eq!(one == other, one.question() == other.question());
    }

    #[test]
    fn d22_what_moves_from_one_part_to_the_next_makes_another_question(
        one in asked(), cut in 0..3_usize,
    ) {
        let mut other = one.clone();
        let letter = other.token.chars().next().unwrap();
        match cut {
            0 => { other.token.remove(0); other.client.push(letter); }
            1 => { other.token.remove(0); other.scopes.push(letter.to_string()); }
            _ => { other.token.remove(0); other.name.push(letter); }
        }
        prop_assert_ne!(one.question(), other.question());
    }
}
