//! What may happen. A history is a list of steps; each is made concrete by what there is when its
//! turn comes, so that a history stays one when steps are taken out of it.

use std::fmt;

use proptest::prelude::*;

use super::{
    model::{GrantKey, Key, Model},
    rules::{CREATE, DELETE, GET},
};

/// Seven names of five people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Ana,
    Ben,
    Lea,
    Tom,
    Mia,
    /// Lea again, under another name.
    LeaToo,
    /// Ana again.
    AnaToo,
}

pub(super) const EVERYBODY: [Who; 7] =
    [Who::Ana, Who::Ben, Who::Lea, Who::Tom, Who::Mia, Who::LeaToo, Who::AnaToo];
pub(super) const GROUPS: [&str; 4] = ["engineering", "oncall", "leads", "managers"];

impl Who {
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The human being.
    pub(super) fn person(self) -> Self {
        match self {
            Self::LeaToo => Self::Lea,
            Self::AnaToo => Self::Ana,
            other => other,
        }
    }

    pub(super) fn first_groups(self) -> Vec<&'static str> {
        match self {
            Self::Ana => vec!["engineering"],
            Self::Ben => vec!["engineering", "oncall"],
            Self::Lea => vec!["leads"],
            Self::Tom | Self::LeaToo => vec!["leads", "managers"],
            Self::Mia => vec!["engineering", "leads", "managers"],
            Self::AnaToo => vec!["engineering", "leads", "managers"],
        }
    }
}

/// Whose turn it is with a grant: its holder's, or somebody else's who tries.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Holder,
    Other(Who),
}

/// Numbers choose among what there is, the newest first.
#[derive(Debug, Clone)]
pub(super) enum Step {
    SignIn {
        who: Who,
        groups: Vec<&'static str>,
    },
    Ask {
        who: Who,
        ways: Vec<&'static str>,
        incident: u8,
        instance: bool,
        minutes: Option<i64>,
    },
    Extend {
        by: By,
        grant: u8,
        minutes: i64,
    },
    Review {
        who: Who,
        request: u8,
        approve: bool,
        minutes: Option<i64>,
        only: Option<&'static str>,
        instance: bool,
    },
    Withdraw {
        who: Who,
        request: u8,
    },
    Use {
        who: Who,
        operation: &'static str,
        instance: bool,
        again: bool,
    },
    OneTimeToken {
        by: By,
        grant: u8,
    },
    Redeem {
        token: u8,
    },
    Present {
        token: u8,
        operation: &'static str,
        instance: bool,
    },
    GiveBack {
        by: By,
        grant: u8,
    },
    Revoke {
        grant: u8,
    },
    OpenIncident(u8),
    CloseIncident(u8),
    ReopenIncident(u8),
    OnCall(Vec<Who>),
    Policy {
        book: usize,
    },
    Wait {
        minutes: i64,
    },
    /// The wall clock is set, and no time passes.
    SetClock {
        minutes: i64,
    },
    Restart,
    Crash,
    /// The process dies when the step has come so far.
    CrashDuring {
        step: Box<Step>,
        polls: u8,
    },
    /// The store commits, nobody hears of it, and the process dies.
    LostAnswer(Box<Step>),
    /// Both at once; the second begins when the first has come so far.
    Race {
        one: Box<Step>,
        other: Box<Step>,
        head_start: u8,
    },
}

/// A list of steps that is printed as one.
#[derive(Clone)]
pub(super) struct History(pub(super) Vec<Step>);

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(n, step)| write!(f, "\n  {:>2}. {step:?}", n + 1))
    }
}

fn who() -> impl Strategy<Value = Who> {
    prop::sample::select(EVERYBODY.to_vec())
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![5 => Just(By::Holder), 1 => who().prop_map(By::Other)]
}

fn operation() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just(GET), 4 => Just(CREATE), 4 => Just(DELETE)]
}

fn nth() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 2 => 1..3_u8, 1 => 3..8_u8]
}

fn ways() -> impl Strategy<Value = Vec<&'static str>> {
    let on_create = prop::sample::select(vec!["auto", "one"]);
    let on_delete = prop::sample::select(vec!["two", "fix", "pager"]);
    prop_oneof![
        2 => on_create.clone().prop_map(|way| vec![way]),
        3 => on_delete.clone().prop_map(|way| vec![way]),
        1 => (on_create, on_delete).prop_map(|(one, other)| vec![one, other]),
    ]
}

/// What people and their clients do: any two of it may race.
fn action() -> BoxedStrategy<Step> {
    let review = (
        who(),
        nth(),
        prop::bool::weighted(0.9),
        prop::option::weighted(0.2, 1..30_i64),
        prop::option::weighted(0.15, operation()),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(who, request, approve, minutes, only, instance)| Step::Review {
            who,
            request,
            approve,
            minutes,
            only,
            instance,
        });
    let ask = (
        who(),
        ways(),
        0..2_u8,
        prop::bool::weighted(0.15),
        prop::option::weighted(0.4, 1..40_i64),
    )
        .prop_map(|(who, ways, incident, instance, minutes)| Step::Ask {
            who,
            ways,
            incident,
            instance,
            minutes,
        });
    let used = (who(), operation(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
        |(who, operation, instance, again)| Step::Use { who, operation, instance, again },
    );
    let extend = (by(), nth(), 1..60_i64).prop_map(|(by, grant, minutes)| Step::Extend {
        by,
        grant,
        minutes,
    });
    prop_oneof![
        16 => ask,
        24 => review,
        18 => used,
        4 => extend,
        2 => (who(), nth()).prop_map(|(who, request)| Step::Withdraw { who, request }),
        4 => (by(), nth()).prop_map(|(by, grant)| Step::OneTimeToken { by, grant }),
        5 => nth().prop_map(|token| Step::Redeem { token }),
        5 => (nth(), operation(), any::<bool>())
            .prop_map(|(token, operation, instance)| Step::Present { token, operation, instance }),
        3 => (by(), nth()).prop_map(|(by, grant)| Step::GiveBack { by, grant }),
        3 => nth().prop_map(|grant| Step::Revoke { grant }),
        5 => (0..2_u8).prop_map(Step::OpenIncident),
        3 => (0..2_u8).prop_map(Step::CloseIncident),
        2 => (0..2_u8).prop_map(Step::ReopenIncident),
        5 => prop::collection::vec(who(), 0..4).prop_map(Step::OnCall),
        5 => (0..3_usize).prop_map(|book| Step::Policy { book }),
    ]
    .boxed()
}

fn sign_in() -> impl Strategy<Value = Step> {
    (who(), prop::sample::subsequence(GROUPS.to_vec(), 0..=GROUPS.len()))
        .prop_map(|(who, groups)| Step::SignIn { who, groups })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => action(),
        3 => sign_in(),
        7 => (1..25_i64).prop_map(|minutes| Step::Wait { minutes }),
        3 => (-40..40_i64).prop_map(|minutes| Step::SetClock { minutes }),
        2 => Just(Step::Restart),
        1 => Just(Step::Crash),
        3 => (action(), 0..40_u8)
            .prop_map(|(step, polls)| Step::CrashDuring { step: Box::new(step), polls }),
        2 => action().prop_map(|step| Step::LostAnswer(Box::new(step))),
        12 => (action(), prop_oneof![6 => action(), 1 => sign_in().boxed()], 0..20_u8).prop_map(
            |(one, other, head_start)| Step::Race {
                one: Box::new(one),
                other: Box::new(other),
                head_start,
            }
        ),
    ]
}

pub(super) fn histories(longest: usize) -> impl Strategy<Value = History> {
    prop::collection::vec(step(), 1..longest).prop_map(History)
}

/// A step that one actor takes, made concrete.
#[derive(Debug, Clone)]
pub(super) enum Act {
    SignIn {
        who: Who,
        groups: Vec<&'static str>,
    },
    Ask {
        key: Key,
        who: Who,
        ways: Vec<&'static str>,
        incident: u8,
        instance: bool,
        minutes: Option<i64>,
    },
    Extend {
        key: Key,
        who: Who,
        grant: GrantKey,
        minutes: i64,
    },
    Review {
        who: Who,
        request: Key,
        approve: bool,
        minutes: Option<i64>,
        only: Option<&'static str>,
        instance: bool,
    },
    Withdraw {
        who: Who,
        request: Key,
    },
    Use {
        who: Who,
        operation: &'static str,
        instance: bool,
        request: u64,
    },
    OneTimeToken {
        key: Key,
        who: Who,
        grant: GrantKey,
    },
    Redeem {
        token: Key,
    },
    Present {
        token: Key,
        operation: &'static str,
        instance: bool,
        request: u64,
    },
    GiveBack {
        who: Who,
        grant: GrantKey,
    },
    Revoke {
        grant: GrantKey,
    },
    OpenIncident(u8),
    CloseIncident(u8),
    ReopenIncident(u8),
    OnCall(Vec<Who>),
    Policy {
        book: usize,
    },
}

impl Act {
    /// `step` as there is something for it to act on; `None` if there is nothing.
    pub(super) fn of(step: &Step, key: Key, model: &Model) -> Option<Self> {
        let request = |nth: u8| newest(model.requests.keys(), nth);
        let grant = |nth: u8| newest(model.grants.keys(), nth);
        let token = |nth: u8| newest(model.tokens.keys(), nth);
        let holder = |by: By, grant: &GrantKey| match by {
            By::Holder => model.grants.get(grant).map(|grant| grant.holder),
            By::Other(who) => Some(who),
        };
        Some(match step.clone() {
            Step::SignIn { who, groups } => Self::SignIn { who, groups },
            Step::Ask { who, ways, incident, instance, minutes } => {
                Self::Ask { key, who, ways, incident, instance, minutes }
            }
            Step::Extend { by, grant: nth, minutes } => {
                let grant = grant(nth)?;
                Self::Extend { key, who: holder(by, &grant)?, grant, minutes }
            }
            Step::Review { who, request: nth, approve, minutes, only, instance } => {
                Self::Review { who, request: request(nth)?, approve, minutes, only, instance }
            }
            Step::Withdraw { who, request: nth } => {
                let request = request(nth)?;
                // Mostly whoever asked.
                let asked = model.requests.get(&request)?.who;
                let who = if who == Who::Tom { who } else { asked };
                Self::Withdraw { who, request }
            }
            Step::Use { who, operation, instance, again } => {
                let request = if again { model.last_use } else { u64::from(key.0) };
                Self::Use { who, operation, instance, request }
            }
            Step::OneTimeToken { by, grant: nth } => {
                let grant = grant(nth)?;
                Self::OneTimeToken { key, who: holder(by, &grant)?, grant }
            }
            Step::Redeem { token: nth } => Self::Redeem { token: token(nth)? },
            Step::Present { token: nth, operation, instance } => {
                let token = token(nth)?;
                Self::Present { token, operation, instance, request: u64::from(key.0) }
            }
            Step::GiveBack { by, grant: nth } => {
                let grant = grant(nth)?;
                Self::GiveBack { who: holder(by, &grant)?, grant }
            }
            Step::Revoke { grant: nth } => Self::Revoke { grant: grant(nth)? },
            Step::OpenIncident(n) => Self::OpenIncident(n),
            Step::CloseIncident(n) => Self::CloseIncident(n),
            Step::ReopenIncident(n) => Self::ReopenIncident(n),
            Step::OnCall(people) => Self::OnCall(people),
            Step::Policy { book } => Self::Policy { book },
            Step::Wait { .. }
            | Step::SetClock { .. }
            | Step::Restart
            | Step::Crash
            | Step::CrashDuring { .. }
            | Step::LostAnswer(_)
            | Step::Race { .. } => return None,
        })
    }
}

fn newest<'a, K: Copy + 'a>(keys: impl DoubleEndedIterator<Item = &'a K>, nth: u8) -> Option<K> {
    let all: Vec<&K> = keys.rev().collect();
    all.get(usize::from(nth) % all.len().max(1)).map(|key| **key)
}
