//! The four people of the demo.

use serde_json::{Value, json};

/// A person whom the provider knows.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) subject: &'static str,
    pub(super) name: &'static str,
    pub(super) role: &'static str,
    groups: &'static [&'static str],
}

/// Everybody.
pub(super) static PEOPLE: [Person; 4] = [
    Person {
        subject: "ana",
        name: "Ana",
        role: "engineer, on call for payments",
        groups: &["engineering", "payments-oncall"],
    },
    Person { subject: "ben", name: "Ben", role: "engineer", groups: &["engineering"] },
    Person { subject: "lea", name: "Lea", role: "lead of payments", groups: &["payments-leads"] },
    Person { subject: "sam", name: "Sam", role: "security auditor", groups: &["auditors"] },
];

/// The person called `subject`.
pub(super) fn lookup(subject: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.subject == subject)
}

impl Person {
    /// What the provider says about them.
    pub(super) fn claims(&self) -> Value {
        json!({
            "sub": self.subject,
            "name": self.name,
            "preferred_username": self.subject,
            "email": format!("{}@demo.example", self.subject),
            "email_verified": true,
            "groups": self.groups,
        })
    }
}
