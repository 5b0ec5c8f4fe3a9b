//! Connections: exchanges that outlive their head. Each is watched, decided again when something
//! that it hangs on moves, cut when it is no longer permitted, and told why.
//!
//! One task per core watches all of its connections. A change of the snapshot costs a few map
//! look-ups per connection; only a new bundle, a changed principal or a rule that reads time costs
//! another decision. Idle connections are cut like busy ones.

mod bounds;
mod live;
mod standing;
mod watch;

pub(crate) use live::{Live, TICK, YOUNG, cut_on_record, watch_all};
pub(crate) use standing::{Data, Standing};
pub(crate) use watch::{Opening, Watch};
