//! What the process has in memory stays there: tokens, keys and bodies.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core file is written, and no other process of the same user looks inside. Where that cannot be
/// had, the log says so, and the process serves all the same.
pub(super) fn keep() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A program that gets core dumps by a pipe ignores limits; what is not dumpable, it never gets.
    let limited = setrlimit(Resource::Core, none);
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(closed) {
        tracing::warn!(%error, "core files could not be forbidden: they would hold secrets");
    }
}
