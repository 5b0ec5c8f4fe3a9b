//! Background threads, beside those that requests go through.

/// A quarter of a core's time is still its own, where requests want all of it.
const NICER: i32 = 5;
/// Next to nothing is left to it there.
const NICEST: i32 = 19;

/// Lets threads that carry requests go before this one. On Linux, niceness is a thread's own (sched(7)).
/// Where the system does not allow it, all are alike.
pub(crate) fn give_way() {
    let _as_it_was = rustix::process::nice(NICER);
}

/// The same for what nobody waits for: all others go before it.
pub(crate) fn give_way_to_all() {
    let _as_it_was = rustix::process::nice(NICEST);
}
