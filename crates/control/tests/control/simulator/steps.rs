//! What may happen. A history is a list of steps; each is made concrete by what there is when its
//! turn comes, so that a history stays one when steps are taken out of it.

use std::fmt;

use proptest::prelude::*;

use super::{
    model::{GrantKey, Key, Model, State},
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
            Self::Mia | Self::AnaToo => vec!["engineering", "leads", "managers"],
        }
    }
}

/// Who does it: one of those who can, or somebody who tries.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Apt(u8),
    Any(Who),
}

/// Numbers choose among what there is, the newest first.
#[derive(Debug, Clone)]
pub(super) enum Step {
    SignIn {
        by: By,
        groups: Vec<&'static str>,
    },
    Ask {
        by: By,
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
        by: By,
        request: u8,
        approve: bool,
        minutes: Option<i64>,
        only: Option<&'static str>,
        instance: bool,
    },
    Withdraw {
        by: By,
        request: u8,
    },
    Use {
        by: By,
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
    prop_oneof![6 => (0..7_u8).prop_map(By::Apt), 1 => who().prop_map(By::Any)]
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
        by(),
        nth(),
        prop::bool::weighted(0.9),
        prop::option::weighted(0.2, 1..30_i64),
        prop::option::weighted(0.15, operation()),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(by, request, approve, minutes, only, instance)| Step::Review {
            by,
            request,
            approve,
            minutes,
            only,
            instance,
        });
    let ask =
        (by(), ways(), 0..2_u8, prop::bool::weighted(0.15), prop::option::weighted(0.4, 1..40_i64))
            .prop_map(|(by, ways, incident, instance, minutes)| Step::Ask {
                by,
                ways,
                incident,
                instance,
                minutes,
            });
    let used = (by(), operation(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(by, operation, instance, again)| Step::Use { by, operation, instance, again });
    let extend = (by(), nth(), 1..60_i64).prop_map(|(by, grant, minutes)| Step::Extend {
        by,
        grant,
        minutes,
    });
    prop_oneof![
        16 => ask,
        22 => review,
        20 => used,
        6 => extend,
        2 => (by(), nth()).prop_map(|(by, request)| Step::Withdraw { by, request }),
        7 => (by(), nth()).prop_map(|(by, grant)| Step::OneTimeToken { by, grant }),
        10 => nth().prop_map(|token| Step::Redeem { token }),
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
    (by(), prop::sample::subsequence(GROUPS.to_vec(), 0..=GROUPS.len()))
        .prop_map(|(by, groups)| Step::SignIn { by, groups })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => action(),
        5 => sign_in(),
        5 => (1..25_i64).prop_map(|minutes| Step::Wait { minutes }),
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
    prop::collection::vec(step(), longest / 4..longest).prop_map(History)
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
    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    pub(super) fn of(step: &Step, key: Key, model: &Model) -> Option<Self> {
        let grant = |nth: u8| grant(model, nth);
        let holder = |by: By, grant: &GrantKey| match by {
            By::Apt(_) => model.grants.get(grant).map(|grant| grant.holder),
            By::Any(who) => Some(who),
        };
        Some(match step.clone() {
            Step::SignIn { by, groups } => {
                // Mostly somebody on whose right to review something hangs.
                let who = chosen(by, |who| model.has_reviewed(who));
                Self::SignIn { who, groups }
            }
            Step::Ask { by, ways, incident, instance, minutes } => {
                let open = [incident, 1 - incident].into_iter().find(|n| model.is_open(*n));
                let incident = open.filter(|_| matches!(by, By::Apt(_))).unwrap_or(incident);
                let who = chosen(by, |who| model.could_ask(who, &ways, incident));
                Self::Ask { key, who, ways, incident, instance, minutes }
            }
            Step::Extend { by, grant: nth, minutes } => {
                let grant = grant(nth)?;
                let rule = model.book().rule(model.grants.get(&grant)?.wanted.rule);
                // Mostly as long as may be: less is seldom more than there is.
                let minutes = match (by, rule) {
                    (By::Apt(0..5), Some(rule)) => rule.minutes,
                    _ => minutes,
                };
                Self::Extend { key, who: holder(by, &grant)?, grant, minutes }
            }
            Step::Review { by, request: nth, approve, minutes, only, instance } => {
                let request = request(model, nth)?;
                let who = chosen(by, |who| model.could_review(who, request));
                Self::Review { who, request, approve, minutes, only, instance }
            }
            Step::Withdraw { by, request: nth } => {
                let request = request(model, nth)?;
                let asked = model.requests.get(&request)?.who;
                Self::Withdraw { who: chosen(by, |who| who.person() == asked.person()), request }
            }
            Step::Use { by, operation, instance, again } => {
                let request = if again { model.last_use } else { u64::from(key.0) };
                match by {
                    By::Any(who) => Self::Use { who, operation, instance, request },
                    By::Apt(nth) => {
                        let grant = model.grants.get(&grant(nth)?)?;
                        let (who, operation) = (grant.holder, grant.wanted.operation);
                        let instance = instance || grant.wanted.instance;
                        Self::Use { who, operation, instance, request }
                    }
                }
            }
            Step::OneTimeToken { by, grant: nth } => {
                let grant = grant(nth)?;
                Self::OneTimeToken { key, who: holder(by, &grant)?, grant }
            }
            Step::Redeem { token: nth } => {
                let all = || model.tokens.iter().rev();
                let token = apt(all(), nth, |token| !token.redeemed)?;
                if model.may_be_forgotten(token) {
                    return None;
                }
                Self::Redeem { token }
            }
            Step::Present { token: nth, operation, instance } => {
                let all = || model.tokens.iter().rev();
                let token = apt(all(), nth, |token| token.redeemed)?;
                let wanted = &model.grants.get(&model.tokens.get(&token)?.grant)?.wanted;
                // Now and then for something else.
                let operation = if nth > 2 { operation } else { wanted.operation };
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

/// One of those who can, or whoever is named.
fn chosen(by: By, can: impl Fn(Who) -> bool) -> Who {
    match by {
        By::Any(who) => who,
        By::Apt(nth) => {
            let able: Vec<Who> = EVERYBODY.into_iter().filter(|who| can(*who)).collect();
            let nth = usize::from(nth);
            able.get(nth % able.len().max(1)).copied().unwrap_or(EVERYBODY[nth])
        }
    }
}

/// The newest that something can be done with; of what is over, if the number is high.
fn apt<'a, K: Copy + 'a, T: 'a>(
    all: impl Iterator<Item = (&'a K, &'a T)>,
    nth: u8,
    is_apt: impl Fn(&T) -> bool,
) -> Option<K> {
    let (apt, over): (Vec<_>, Vec<_>) = all.partition(|(_, one)| is_apt(one));
    let from = if nth > 5 || apt.is_empty() { over } else { apt };
    from.get(usize::from(nth) % from.len().max(1)).map(|(key, _)| **key)
}

fn request(model: &Model, nth: u8) -> Option<Key> {
    apt(model.requests.iter().rev(), nth, |request| request.state == State::Pending)
}

fn grant(model: &Model, nth: u8) -> Option<GrantKey> {
    apt(model.grants.iter().rev(), nth, |grant| grant.over.is_none())
}
