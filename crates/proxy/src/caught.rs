//! A panic ends the request that it happens in, and nothing else.
//!
//! Nothing here is meant to panic. Where something does, in a library or by a mistake, the client is
//! answered, the attempt is on record, and whoever else is served on this core goes on.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

/// What was under way panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Drives `future` to its end, or to its panic. The standard library's hook has said where by then.
///
/// Not an `async fn`, which would hold what it is given twice: requests are large.
pub(crate) fn caught<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Result<T, Panicked>> {
    poll_fn(move |cx| {
        // What is left behind is dropped: locks and borrows were given back on the way out, and what
        // a core remembers of decisions is forgotten by whoever hears of it.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
}
