//! Schedules that configuration keeps: people who take turns, by a wall clock in some time zone.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, Unit, civil::DateTime, tz::TimeZone};
use portcullis_model::{PrincipalId, PrincipalKind, Schedule, ScheduleName};

use crate::{bundle::RotationSource, clocks::zone_of};

/// The rotations of a bundle. Who is on call at a time follows from the time alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rotations(BTreeMap<ScheduleName, Rotation>);

#[derive(Debug, Clone)]
struct Rotation {
    people: Vec<PrincipalId>,
    zone: TimeZone,
    from: DateTime,
    every_days: i32,
}

impl Rotations {
    /// Reads them, or says what is wrong with them.
    pub(crate) fn read(
        source: &BTreeMap<ScheduleName, RotationSource>,
    ) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut rotations = BTreeMap::new();
        for (name, source) in source {
            match Rotation::read(source) {
                Ok(rotation) => drop(rotations.insert(name.clone(), rotation)),
                Err(message) => wrong.push(format!("schedule `{name}`: {message}")),
            }
        }
        if wrong.is_empty() { Ok(Self(rotations)) } else { Err(wrong) }
    }

    pub(crate) fn keeps(&self, name: &ScheduleName) -> bool {
        self.0.contains_key(name)
    }

    /// Who is on call at `now`. Before a rotation begins, that is unknown.
    pub(crate) fn at(&self, now: Timestamp) -> Vec<Arc<Schedule>> {
        let schedule = |(name, rotation): (&ScheduleName, &Rotation)| rotation.at(name, now);
        self.0.iter().filter_map(schedule).map(Arc::new).collect()
    }

    /// Grows with every handover, so that it tells one state of all rotations from every other.
    pub(crate) fn turns(&self, now: Timestamp) -> i64 {
        self.0.values().filter_map(|rotation| Some(i64::from(rotation.turn(now)?))).sum()
    }
}

impl Rotation {
    fn read(source: &RotationSource) -> Result<Self, String> {
        let RotationSource { people, zone, from, every_days } = source;
        if people.is_empty() {
            return Err("nobody takes turns".to_owned());
        }
        let every_days = i32::try_from(*every_days).ok().filter(|days| *days > 0);
        let from: DateTime = from
            .parse()
            .map_err(|_| format!("`{from}` is no local time; write it like 2026-01-05T09:00"))?;
        let person =
            |id: &String| PrincipalId { kind: PrincipalKind::User, id: id.as_str().into() };
        Ok(Self {
            people: people.iter().map(person).collect(),
            zone: zone_of(zone)?,
            from,
            every_days: every_days.ok_or("turns last whole days, one at least")?,
        })
    }

    /// When turn number `turn` begins.
    fn begins(&self, turn: i32) -> Option<Timestamp> {
        let days = jiff::Span::new().try_days(self.every_days.checked_mul(turn)?).ok()?;
        let here = self.from.checked_add(days).ok()?;
        here.to_zoned(self.zone.clone()).ok().map(|here| here.timestamp())
    }

    /// The number of the turn at `now`; `None` before the first.
    fn turn(&self, now: Timestamp) -> Option<i32> {
        let here = now.to_zoned(self.zone.clone()).datetime();
        let passed = here.date().since((Unit::Day, self.from.date())).ok()?.get_days();
        let near = passed.checked_div(self.every_days)?;
        // Wall clocks jump: what counts is when a turn began.
        let mut turn = near.saturating_add(1);
        while turn >= 0 && self.begins(turn).is_none_or(|begins| now < begins) {
            turn -= 1;
            if turn < near.saturating_sub(2) {
                return None;
            }
        }
        (turn >= 0).then_some(turn)
    }

    fn at(&self, name: &ScheduleName, now: Timestamp) -> Option<Schedule> {
        let turn = self.turn(now)?;
        let index = usize::try_from(turn).ok()?.checked_rem(self.people.len())?;
        Some(Schedule {
            name: name.clone(),
            version: 0,
            people: [self.people.get(index)?.clone()].into(),
            since: self.begins(turn),
            until: self.begins(turn.checked_add(1)?),
            source: "config".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotations(every_days: u32, from: &str) -> Rotations {
        let source = RotationSource {
            people: ["corp:ana", "corp:ben"].map(str::to_owned).into(),
            zone: "Europe/Lisbon".to_owned(),
            from: from.to_owned(),
            every_days,
        };
        Rotations::read(&[("primary".parse().unwrap(), source)].into()).unwrap()
    }

    fn on(rotations: &Rotations, at: &str) -> Option<String> {
        let found = rotations.at(at.parse().unwrap());
        found.first().map(|schedule| schedule.people.first().unwrap().id.to_string())
    }

    #[test]
    fn people_take_turns_at_the_hour_of_their_own_wall() {
        let weekly = rotations(7, "2026-03-23T09:00");
        assert_eq!(on(&weekly, "2026-03-23T08:59:59Z"), None, "not yet known");
        assert_eq!(on(&weekly, "2026-03-23T09:00:00Z").as_deref(), Some("corp:ana"));
        // Summer time began on the 29th: nine in Lisbon is eight in UTC.
        assert_eq!(on(&weekly, "2026-03-30T07:59:59Z").as_deref(), Some("corp:ana"));
        assert_eq!(on(&weekly, "2026-03-30T08:00:00Z").as_deref(), Some("corp:ben"));
        assert_eq!(on(&weekly, "2026-04-06T08:00:00Z").as_deref(), Some("corp:ana"));
    }

    #[test]
    fn e31_a_handover_in_the_hour_that_comes_twice_happens_once() {
        let daily = rotations(1, "2026-10-24T01:30");
        assert_eq!(on(&daily, "2026-10-25T00:29:00Z").as_deref(), Some("corp:ana"));
        for after in ["00:31", "00:59", "01:10", "01:29", "01:31", "02:30"] {
            let at = format!("2026-10-25T{after}:00Z");
            assert_eq!(on(&daily, &at).as_deref(), Some("corp:ben"), "{after}");
        }
        // In spring, half past one is not there: it is handed over when the hour is skipped.
        let daily = rotations(1, "2026-03-28T01:30");
        assert_eq!(on(&daily, "2026-03-29T00:59:00Z").as_deref(), Some("corp:ana"));
        assert_eq!(on(&daily, "2026-03-29T01:31:00Z").as_deref(), Some("corp:ben"));
    }

    #[test]
    fn turns_grow_with_every_handover() {
        let daily = rotations(1, "2026-03-28T01:30");
        let at = |at: &str| daily.turns(at.parse().unwrap());
        assert_eq!(at("2026-03-28T00:00:00Z"), 0);
        assert_eq!(at("2026-03-29T12:00:00Z"), 1);
        assert_eq!(at("2026-03-30T12:00:00Z"), 2);
    }
}
