//! What carries a request body up a shared connection, and stops when its exchange is cut.
//!
//! hyper asks a body for more once what it took last has left, and so hears of a cut no sooner. Whoever holds back
//! the window of a stream could have that part of it later. What waits like that when its exchange is cut is given up
//! here; together with its answer, which the cut gives up too, the stream is reset and what is queued of it dropped.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::connection::Watch;

/// Runs what hyper spawns for one connection over HTTP/2.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carriers {
    /// What watches the body that was asked for the first time just now. hyper asks once, and spawns what goes on
    /// asking before it does anything else.
    begun: Rc<RefCell<Option<Rc<Watch>>>>,
}

impl Carriers {
    /// The body that `watch` watches is asked for the first time.
    pub(crate) fn begin(&self, watch: &Rc<Watch>) {
        self.begun.replace(Some(Rc::clone(watch)));
    }

    /// Nothing goes on asking for it.
    pub(crate) fn forget(&self) {
        self.begun.take();
    }
}

impl<F> hyper::rt::Executor<F> for Carriers
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        match self.begun.take() {
            None => tokio::task::spawn_local(future),
            Some(watch) => {
                tokio::task::spawn_local(Carrier { future: Some(Box::pin(future)), watch })
            }
        };
    }
}

/// Until all is carried, or what is carried is cut.
struct Carrier<F> {
    future: Option<Pin<Box<F>>>,
    watch: Rc<Watch>,
}

impl<F: Future<Output = ()>> Future for Carrier<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { future, watch } = &mut *self;
        watch.wake_up(cx.waker());
        let Some(carrying) = future else { return Poll::Ready(()) };
        // It says itself why it ends, unless it waits for room.
        if carrying.as_mut().poll(cx).is_pending() && watch.cut_as().is_none() {
            return Poll::Pending;
        }
        *future = None;
        Poll::Ready(())
    }
}
