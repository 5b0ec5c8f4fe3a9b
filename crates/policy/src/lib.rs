//! The policy decision point.
//!
//! Loads policies and services as one [`Bundle`], validated whole, and answers access queries with
//! Permit, Requestable or Deny. Pure: no clock, no IO, no randomness of its own.

pub mod bundle;
pub mod catalog;
pub mod context;
pub mod control_action;
pub mod counters;
pub mod decide;
pub mod edge;
pub mod load_error;
pub mod notice;
pub mod policy_test;
pub mod rate_limit;
pub mod sensitive;
pub mod snapshot;
pub mod upstream;

mod ahead;
mod cache;
mod clocks;
mod entities;
mod evaluate;
mod facts;
#[cfg(test)]
mod fixture;
#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(all(test, not(fuzzing)))]
mod fuzz;
#[cfg(test)]
mod guide;
mod incidents;
mod index;
mod load;
mod place;
mod places;
mod policy;
#[cfg(test)]
mod properties;
mod reads;
mod rotations;
mod schedules;
mod schema;
mod slice;
mod subject;
mod unknown;
mod ways;
mod words;

pub use bundle::{Bundle, BundleSource, Demands, PolicySource, ServiceSource};
pub use catalog::Catalog;
pub use context::{Context, Country, Known, Record, Source, Subject, Value};
pub use control_action::{
    Admitting, ControlAction, ControlContext, ControlResource, ControlVerdict,
};
pub use counters::EvaluationErrors;
pub use decide::{Answer, DecisionCache, Denial, Pass, Query, Verdict};
pub use load_error::LoadError;
pub use sensitive::{ClassSet, Sensitive};
pub use snapshot::Snapshot;
