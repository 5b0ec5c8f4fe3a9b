//! The reference model: what the product must do, written as plainly as it can be said. One thing
//! happens after the other, nothing fails, nothing is remembered twice. Times are seconds.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    rules::{BOOKS, Book, GET, READERS, Rule},
    steps::{Act, EVERYBODY, Who},
};

/// Names what one step made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u32);

/// A grant: the access request that it came of, and which of its grants it is.
pub(super) type GrantKey = (Key, usize);

pub(super) const HOUR: i64 = 3600;
/// A one-time token lives so long, and no more of one grant are made within it.
const TOKEN_LIVES: i64 = 60;
const MOST_TOKENS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) rule: &'static str,
    pub(super) operation: &'static str,
    pub(super) instance: bool,
    pub(super) incident: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Approved,
    Declined,
    Withdrawn,
    Expired,
}

#[derive(Debug, Clone)]
pub(super) struct Review {
    pub(super) who: Who,
    pub(super) approve: bool,
    pub(super) minutes: Option<i64>,
    pub(super) only: Option<&'static str>,
    pub(super) instance: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) who: Who,
    pub(super) wanted: Vec<Wanted>,
    pub(super) reviews_needed: u8,
    /// What each query's way allowed when it was asked for.
    pub(super) uses_then: Vec<Option<u32>>,
    pub(super) seconds: i64,
    pub(super) extends: Option<GrantKey>,
    pub(super) reviews: Vec<Review>,
    pub(super) ends: Ends,
    pub(super) state: State,
    pub(super) grants: Vec<GrantKey>,
}

/// An end by the clock on the wall, and by the one that nobody sets: whichever is first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) wall: i64,
    pub(super) uptime: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) holder: Who,
    pub(super) wanted: Wanted,
    pub(super) reviews: u8,
    /// The people who approved it, by the time it was issued or extended.
    pub(super) people: BTreeSet<Who>,
    pub(super) starts: i64,
    pub(super) ends: Ends,
    pub(super) max_uses: Option<u32>,
    pub(super) spent_on: BTreeSet<u64>,
    pub(super) extended: usize,
    pub(super) over: Option<Over>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Expired,
    Revoked,
    UsedUp,
    GivenBack,
    RuleGone,
    IncidentResolved,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) grant: GrantKey,
    pub(super) lapses: i64,
    /// The same by the clock that nobody sets.
    uptime_lapses: i64,
    /// It has been later than that already, by either clock.
    pub(super) lapsed: bool,
    pub(super) redeemed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) open: bool,
    pub(super) opened: usize,
    pub(super) closed: usize,
}

/// What the product must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    Refused,
    /// This access request.
    Asked(Key),
    /// Forwarded, under this grant or under standing policy.
    Passed(Option<GrantKey>),
    /// Not forwarded; these ways would open it.
    Ways(BTreeSet<(String, Option<u8>)>),
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) wall: i64,
    pub(super) uptime: i64,
    pub(super) book: usize,
    pub(super) activations: usize,
    pub(super) groups: BTreeMap<Who, BTreeSet<&'static str>>,
    pub(super) on_call: BTreeSet<Who>,
    pub(super) incidents: BTreeMap<u8, Incident>,
    pub(super) requests: BTreeMap<Key, Request>,
    pub(super) grants: BTreeMap<GrantKey, Grant>,
    pub(super) tokens: BTreeMap<Key, Token>,
    pub(super) last_use: u64,
}

impl Grant {
    /// Its window is open and it carries one more.
    pub(super) fn in_force(&self, wall: i64) -> bool {
        self.over.is_none() && self.starts <= wall && wall < self.ends.wall && !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.max_uses.is_some_and(|max| self.spent_on.len() >= max as usize)
    }

    pub(super) fn end(&mut self, why: Over) -> Said {
        if self.over.is_some() {
            return Said::Refused;
        }
        self.over = Some(why);
        Said::Done
    }

    fn covers(&self, operation: &str, instance: bool) -> bool {
        self.wanted.operation == operation && (!self.wanted.instance || instance)
    }
}

impl Ends {
    fn are_over(self, wall: i64, uptime: i64) -> bool {
        wall >= self.wall || uptime >= self.uptime
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let groups = EVERYBODY.map(|who| (who, who.first_groups().into_iter().collect()));
        Self {
            wall: 0,
            uptime: 0,
            book: 0,
            activations: 1,
            groups: groups.into(),
            on_call: BTreeSet::new(),
            incidents: BTreeMap::new(),
            requests: BTreeMap::new(),
            grants: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_use: 0,
        }
    }

    pub(super) fn book(&self) -> &'static Book {
        &BOOKS[self.book]
    }

    pub(super) fn is_in(&self, who: Who, group: &str) -> bool {
        self.groups[&who].contains(group)
    }

    pub(super) fn is_open(&self, incident: u8) -> bool {
        self.incidents.get(&incident).is_some_and(|incident| incident.open)
    }

    /// So much time passes, by both clocks.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.wall += seconds;
        self.uptime += seconds;
        self.look_at_the_clocks();
    }

    /// The wall clock is set.
    pub(super) fn set_clock(&mut self, by: i64) {
        self.wall += by;
        self.look_at_the_clocks();
    }

    fn look_at_the_clocks(&mut self) {
        let (wall, uptime) = (self.wall, self.uptime);
        for grant in self.grants.values_mut().filter(|grant| grant.ends.are_over(wall, uptime)) {
            grant.end(Over::Expired);
        }
        for token in self.tokens.values_mut() {
            token.lapsed |= wall >= token.lapses || uptime >= token.uptime_lapses;
        }
        let pending = self.requests.values_mut().filter(|one| one.state == State::Pending);
        for request in pending.filter(|one| one.ends.are_over(wall, uptime)) {
            request.state = State::Expired;
        }
    }

    /// The process starts anew. Nobody knows for how long it was away: what is left is counted by the
    /// clock on the wall from here.
    pub(super) fn restart(&mut self) {
        let from_here = |wall: i64, ends: &mut Ends, uptime: i64| {
            ends.uptime = uptime + (ends.wall - wall).max(0);
        };
        for grant in self.grants.values_mut() {
            from_here(self.wall, &mut grant.ends, self.uptime);
        }
        for request in self.requests.values_mut() {
            from_here(self.wall, &mut request.ends, self.uptime);
        }
        self.look_at_the_clocks();
    }

    /// When something ends that has so many seconds left.
    pub(super) fn ends_in(&self, seconds: i64) -> Ends {
        Ends { wall: self.wall + seconds, uptime: self.uptime + seconds }
    }

    pub(super) fn admits(&self, rule: &Rule, who: Who, incident: Option<u8>) -> bool {
        rule.group.is_none_or(|group| self.is_in(who, group))
            && (!rule.on_call || self.on_call.contains(&who))
            && rule.incident == incident.is_some()
            && incident.is_none_or(|incident| self.is_open(incident))
    }

    /// The rules that `who` could take to `operation`.
    fn ways(&self, who: Who, operation: &str) -> BTreeSet<(String, Option<u8>)> {
        let mut ways = BTreeSet::new();
        for rule in self.book().rules.iter().filter(|rule| rule.operation == operation) {
            for incident in [None, Some(0), Some(1)] {
                if self.admits(rule, who, incident) {
                    ways.insert((rule.name.to_owned(), incident));
                }
            }
        }
        ways
    }

    /// Whether this grant opens `operation` at this moment.
    fn opens(&self, grant: &Grant, operation: &str, instance: bool) -> bool {
        let rule = self.book().rule(grant.wanted.rule);
        grant.covers(operation, instance)
            && grant.in_force(self.wall)
            && rule.is_some_and(|rule| self.admits(rule, grant.holder, grant.wanted.incident))
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each act")]
    pub(super) fn apply(&mut self, act: &Act) -> Said {
        match act.clone() {
            Act::SignIn { who, groups } => {
                self.groups.insert(who, groups.into_iter().collect());
                Said::Done
            }
            Act::Ask { key, who, ways, incident, instance, minutes } => {
                self.ask(key, who, &ways, incident, instance, minutes)
            }
            Act::Extend { key, who, grant, minutes } => self.extend(key, who, grant, minutes),
            Act::Review { who, request, approve, minutes, only, instance } => {
                self.review(request, &Review { who, approve, minutes, only, instance })
            }
            Act::Withdraw { who, request } => match self.requests.get_mut(&request) {
                Some(request) if request.who.person() != who.person() => Said::Refused,
                Some(request) if request.state == State::Pending => {
                    request.state = State::Withdrawn;
                    Said::Done
                }
                _ => Said::Refused,
            },
            Act::Use { who, operation, instance, request } => {
                self.use_it(who, operation, instance, request)
            }
            Act::OneTimeToken { key, who, grant } => self.one_time_token(key, who, grant),
            Act::Redeem { token } => self.redeem(token),
            Act::Present { token, operation, instance, request } => {
                self.present(token, operation, instance, request)
            }
            Act::GiveBack { who, grant } => match self.grants.get_mut(&grant) {
                Some(grant) if grant.holder == who => grant.end(Over::GivenBack),
                _ => Said::Refused,
            },
            Act::Revoke { grant } => match self.grants.get_mut(&grant) {
                Some(grant) => grant.end(Over::Revoked),
                None => Said::Refused,
            },
            Act::OpenIncident(n) => {
                if self.incidents.contains_key(&n) {
                    return Said::Refused;
                }
                self.incidents.insert(n, Incident { open: true, opened: 1, closed: 0 });
                Said::Done
            }
            Act::CloseIncident(n) => self.close(n),
            Act::ReopenIncident(n) => match self.incidents.get_mut(&n) {
                Some(incident) if !incident.open => {
                    incident.open = true;
                    incident.opened += 1;
                    Said::Done
                }
                _ => Said::Refused,
            },
            Act::OnCall(people) => {
                self.on_call = people.into_iter().collect();
                Said::Done
            }
            Act::Policy { book } => {
                if book != self.book {
                    self.activations += 1;
                }
                self.book = book;
                let rules = self.book();
                let gone = |grant: &&mut Grant| rules.rule(grant.wanted.rule).is_none();
                for grant in self.grants.values_mut().filter(gone) {
                    grant.end(Over::RuleGone);
                }
                Said::Done
            }
        }
    }

    fn close(&mut self, n: u8) -> Said {
        match self.incidents.get_mut(&n) {
            Some(incident) if incident.open => {
                incident.open = false;
                incident.closed += 1;
            }
            _ => return Said::Refused,
        }
        for grant in self.grants.values_mut().filter(|grant| grant.wanted.incident == Some(n)) {
            grant.end(Over::IncidentResolved);
        }
        Said::Done
    }

    fn use_it(&mut self, who: Who, operation: &str, instance: bool, request: u64) -> Said {
        if operation == GET && self.is_in(who, READERS) {
            return Said::Passed(None);
        }
        let own = self.grants.iter().filter(|(_, grant)| grant.holder == who);
        let opening = own.filter(|(_, grant)| self.opens(grant, operation, instance));
        // Those that do not count first, then those that end first.
        let first =
            opening.min_by_key(|(key, grant)| (grant.max_uses.is_some(), grant.ends.wall, **key));
        match first.map(|(key, _)| *key) {
            Some(key) => self.spend(key, request),
            None => Said::Ways(self.ways(who, operation)),
        }
    }

    fn spend(&mut self, key: GrantKey, request: u64) -> Said {
        self.last_use = request;
        let Some(grant) = self.grants.get_mut(&key) else { return Said::Refused };
        if grant.max_uses.is_some() {
            if !grant.spent_on.insert(request) {
                return Said::Refused;
            }
            if grant.is_spent() {
                grant.end(Over::UsedUp);
            }
        }
        Said::Passed(Some(key))
    }

    fn one_time_token(&mut self, key: Key, who: Who, of: GrantKey) -> Said {
        let Some(grant) = self.grants.get(&of) else { return Said::Refused };
        let made = self.tokens.values().filter(|one| one.grant == of && one.lapses > self.wall);
        if grant.holder != who || !grant.in_force(self.wall) || made.count() >= MOST_TOKENS {
            return Said::Refused;
        }
        let lapses = (self.wall + TOKEN_LIVES).min(grant.ends.wall);
        let uptime_lapses = self.uptime + (lapses - self.wall);
        let token = Token { grant: of, lapses, uptime_lapses, lapsed: false, redeemed: false };
        self.tokens.insert(key, token);
        Said::Done
    }

    fn redeem(&mut self, token: Key) -> Said {
        let wall = self.wall;
        let Some(token) = self.tokens.get_mut(&token) else { return Said::Refused };
        let in_force = self.grants.get(&token.grant).is_some_and(|grant| grant.in_force(wall));
        if token.redeemed || wall >= token.lapses || !in_force {
            return Said::Refused;
        }
        token.redeemed = true;
        Said::Done
    }

    /// What has lapsed by either clock is forgotten in the background, sooner or later. Where the wall clock says that
    /// it has not, it may be there or not.
    pub(super) fn may_be_forgotten(&self, token: Key) -> bool {
        let token = self.tokens.get(&token);
        token.is_some_and(|token| token.lapsed && !token.redeemed && self.wall < token.lapses)
    }

    /// A grant token opens its grant, and nothing else, for whoever has it.
    fn present(&mut self, token: Key, operation: &str, instance: bool, request: u64) -> Said {
        let redeemed = self.tokens.get(&token).filter(|token| token.redeemed);
        let Some(key) = redeemed.map(|token| token.grant) else { return Said::Refused };
        match self.grants.get(&key) {
            Some(grant) if self.opens(grant, operation, instance) => self.spend(key, request),
            _ => Said::Refused,
        }
    }
}
