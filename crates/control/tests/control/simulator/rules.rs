//! The policies of the simulator, from one table: the model reads the table, the product gets the
//! Cedar text that is made of it.

use std::fmt::Write as _;

/// A rule that issues grants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) operation: &'static str,
    /// Who may take it; everybody if absent.
    pub(super) group: Option<&'static str>,
    pub(super) reviews: u8,
    pub(super) minutes: i64,
    pub(super) uses: Option<u32>,
    /// Only for an open incident of the service.
    pub(super) incident: bool,
    /// Only for whoever is on call.
    pub(super) on_call: bool,
}

/// One bundle.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: &'static [Rule],
    /// Who reviews.
    pub(super) reviewers: &'static str,
}

pub(super) const GET: &str = "payments.getRefund";
pub(super) const CREATE: &str = "payments.createRefund";
pub(super) const DELETE: &str = "payments.deleteRefund";
/// Who reads without asking, under every bundle.
pub(super) const READERS: &str = "engineering";
/// No rule's grant becomes longer than this.
pub(super) const LONGEST_MINUTES: i64 = 8 * 60;

const AUTO: Rule = Rule {
    name: "auto",
    operation: CREATE,
    group: Some("oncall"),
    reviews: 0,
    minutes: 30,
    uses: None,
    incident: false,
    on_call: false,
};
const ONE: Rule = Rule {
    name: "one",
    group: Some("engineering"),
    reviews: 1,
    minutes: 15,
    uses: Some(2),
    ..AUTO
};
const TWO: Rule =
    Rule { name: "two", operation: DELETE, reviews: 2, minutes: 60, uses: None, ..ONE };
const FIX: Rule = Rule { name: "fix", reviews: 1, minutes: 45, incident: true, ..TWO };
const PAGER: Rule =
    Rule { name: "pager", group: None, reviews: 0, minutes: 20, on_call: true, ..TWO };

pub(super) const BOOKS: [Book; 3] = [
    Book { rules: &[AUTO, ONE, TWO, FIX, PAGER], reviewers: "leads" },
    // Stricter: one rule is gone, another counts less, a third takes three people.
    Book {
        rules: &[Rule { uses: Some(1), ..ONE }, Rule { reviews: 3, ..TWO }, FIX, PAGER],
        reviewers: "leads",
    },
    // Other people review, other people ask, windows are short.
    Book {
        rules: &[
            AUTO,
            ONE,
            Rule { group: Some("oncall"), minutes: 10, ..TWO },
            Rule { reviews: 2, ..FIX },
        ],
        reviewers: "managers",
    },
];

impl Book {
    pub(super) fn rule(&self, name: &str) -> Option<&'static Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    pub(super) fn cedar(&self) -> String {
        let mut text = format!(
            "@id(\"read\")\npermit (principal is User in Group::\"{READERS}\", \
             action == Action::\"{GET}\", resource in Service::\"payments\");\n"
        );
        for rule in self.rules {
            rule.write(&mut text);
        }
        let reviewers = self.reviewers;
        write!(
            text,
            r#"// only house
@id("reviewers")
permit (principal is User in Group::"{reviewers}", action == Action::"review", resource is AccessRequest);
@id("wardens.revoke")
permit (principal is User in Group::"wardens", action == Action::"revoke", resource == Service::"payments");
@id("wardens.incidents")
permit (principal is User in Group::"wardens", action == Action::"manageIncident", resource);
"#
        )
        .unwrap();
        text
    }
}

impl Rule {
    fn write(&self, text: &mut String) {
        let Self { name, operation, reviews, minutes, .. } = self;
        let uses = self.uses.map(|uses| format!(" @max_uses(\"{uses}\")")).unwrap_or_default();
        let group = self.group.map(|group| format!(" in Group::\"{group}\"")).unwrap_or_default();
        let mut when = "context has grant".to_owned();
        if self.incident {
            when += " && context.grant has incident && context.grant.incident.open \
                     && context.grant.incident.services.contains(Service::\"payments\")";
        }
        if self.on_call {
            when += " && principal has onCall && principal.onCall.contains(Schedule::\"primary\")";
        }
        write!(
            text,
            "@id(\"{name}\") @reviews(\"{reviews}\") @max_duration(\"{minutes}m\"){uses}\n\
             permit (principal is User{group}, action == Action::\"{operation}\", \
             resource in Service::\"payments\")\nwhen {{ {when} }};\n"
        )
        .unwrap();
    }
}
