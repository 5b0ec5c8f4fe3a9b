//! Which sensitive data a caller may see: one decision for each class, beside that about the request.
//!
//! What is not decided, cannot be decided or is denied is masked. What a grant lets somebody see ends
//! with it, in the middle of an answer too: the connection is cut, as by the end of any grant.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::HeaderValue;
use portcullis_model::{ClassName, ConnectionId, Revealed};
use portcullis_policy::{ClassSet, Context, Known, Pass, Sensitive, Snapshot, catalog::Service};

use crate::{
    connection::{Data, Opening, Standing, Watch},
    decide::{self, Question},
    exchange::Exchange,
    forward::standing,
    record::Late,
};

/// What of the data of one service a caller sees. Only services with sensitive data have one.
#[derive(Debug)]
pub(crate) struct Sight {
    sensitive: Arc<Sensitive>,
    /// Everything that is not among `seen`.
    masked: ClassSet,
    seen: Vec<Seen>,
    met: Rc<Met>,
}

/// What was masked in an answer, and not only would have been.
#[derive(Debug, Default)]
pub(crate) struct Met {
    classes: Cell<ClassSet>,
    /// There is no more of the answer.
    is_all: Cell<bool>,
    /// The outcome of the request, if it waits for that.
    waits: RefCell<Option<Late>>,
}

impl PartialEq for Met {
    fn eq(&self, other: &Self) -> bool {
        (&self.classes, &self.is_all) == (&other.classes, &other.is_all)
    }
}

impl Eq for Met {}

impl Met {
    /// These were masked, and what was before.
    pub(crate) fn add(&self, classes: ClassSet) {
        self.classes.set(ClassSet(self.classes.get().0 | classes.0));
    }

    /// That was all.
    pub(crate) fn end(&self) {
        self.is_all.set(true);
        if let Some(late) = self.waits.take() {
            late.tell(Some(self.classes.get()), None);
        }
    }

    /// `late` is told at the end of the answer, or as soon as it goes on as a connection that others see.
    pub(crate) fn wait(&self, late: Late) {
        self.waits.replace(Some(late));
    }

    /// The answer is a connection that others see, whose end says what was met.
    pub(crate) fn goes_on(&self, connection: ConnectionId) {
        if let Some(late) = self.waits.take() {
            late.tell(None, Some(connection));
        }
    }

    /// The same, if others saw the connection before its answer came, which goes on for longer than what is short.
    pub(crate) fn went_on(&self, connection: ConnectionId, now: Instant) {
        if self.waits.borrow().as_ref().is_some_and(|late| late.is_due(now)) {
            self.goes_on(connection);
        }
    }

    /// By name.
    pub(crate) fn names<'s>(&self, sensitive: &'s Sensitive) -> Vec<&'s ClassName> {
        sensitive.names(self.classes.get()).collect()
    }
}

/// A class that is seen, and what lets it be seen.
#[derive(Debug, Clone)]
struct Seen {
    class: usize,
    standing: Standing,
}

impl Sight {
    /// Of a service, before anything is decided: nothing sensitive is seen.
    pub(crate) fn of(service: &Service) -> Option<Box<Self>> {
        let sensitive = Arc::clone(service.sensitive()?);
        let masked = sensitive.all();
        Some(Box::new(Self { sensitive, masked, seen: Vec::new(), met: Rc::default() }))
    }

    /// Whether a grant lets something be seen.
    pub(crate) fn is_by_grant(&self) -> bool {
        self.seen.iter().any(|seen| seen.standing.grant().is_some())
    }

    /// For the record: the classes that are masked.
    pub(crate) fn masked(&self) -> Vec<&ClassName> {
        self.sensitive.names(self.masked).collect()
    }

    /// The rules by which it is masked.
    pub(crate) fn sensitive(&self) -> &Arc<Sensitive> {
        &self.sensitive
    }

    /// For the record: those that there was something of in the answer, once all of it is known.
    pub(crate) fn met(&self) -> Option<Vec<&ClassName>> {
        self.met.is_all.get().then(|| self.met.names(&self.sensitive))
    }

    /// For the client: the classes that are masked, if any is.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut text = Vec::new();
        for name in self.sensitive.names(self.masked) {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(name.as_str().as_bytes());
        }
        let header = HeaderValue::from_maybe_shared(Bytes::from(text)).ok();
        header.filter(|value| !value.is_empty())
    }

    /// For the record: the classes that are seen, and the grants that let them be.
    pub(crate) fn revealed(&self) -> Vec<Revealed<'_>> {
        let class = |at: usize| self.sensitive.classes.get(at).map(|class| &class.name);
        let seen = self.seen.iter();
        seen.filter_map(|seen| {
            Some(Revealed { class: class(seen.class)?, grant: seen.standing.grant() })
        })
        .collect()
    }

    /// What a connection that shows it hangs on.
    fn standings(&self) -> Vec<Standing> {
        self.seen.iter().map(|seen| seen.standing.clone()).collect()
    }

    fn see(&mut self, class: usize, standing: Standing) {
        self.masked = self.masked.without(class);
        self.seen.push(Seen { class, standing });
    }
}

/// What of the answer has to be masked; `None` if nothing of the service's data is sensitive.
pub(crate) fn masked(exchange: &Exchange) -> Option<(Arc<Sensitive>, ClassSet)> {
    exchange.sight.as_deref().map(|sight| (Arc::clone(&sight.sensitive), sight.masked))
}

/// Where it is said what was masked in the answer.
pub(crate) fn met(exchange: &Exchange) -> Rc<Met> {
    exchange.sight.as_deref().map(|sight| Rc::clone(&sight.met)).unwrap_or_default()
}

/// Whether anything of the answer has to be masked.
pub(crate) fn masks(exchange: &Exchange) -> bool {
    exchange.sight.as_deref().is_some_and(|sight| !sight.masked.is_empty())
}

/// The answer is there: a connection that is watched, or will be, carries it from here on, shows what is
/// seen by now and hangs on that. Before, nothing was shown, and nothing that ended could end it.
pub(crate) fn watched(exchange: &Exchange, watch: Option<&Watch>, opening: Option<&mut Opening>) {
    let sight = exchange.sight.as_deref();
    let shown = || {
        let data = Data::by(sight.map(|sight| (&sight.sensitive, &sight.met)));
        (data, sight.map(Sight::standings).unwrap_or_default())
    };
    if let Some(watch) = watch {
        let (data, standings) = shown();
        watch.show(&exchange.core, data, standings);
    }
    if let Some(opening) = opening {
        let (data, standings) = shown();
        opening.standing.show(data, standings);
    }
}

/// Decides what is seen in the answer to what `question` permitted.
pub(crate) fn decide(exchange: &mut Exchange, question: &Question) {
    let Some(mut sight) = exchange.sight.take() else { return };
    let snapshot = Rc::clone(&exchange.snapshot);
    (sight.masked, sight.seen) = (sight.sensitive.all(), Vec::new());
    let service = snapshot.bundle().catalog().service(&question.resource.service);
    // The classes of the bundle that decides, and of no other.
    let service = service.filter(|service| {
        service.sensitive().is_some_and(|sensitive| Arc::ptr_eq(sensitive, &sight.sensitive))
    });
    for (class, operation) in service.map(Service::reveals).unwrap_or_default().iter().enumerate() {
        let asked = Question {
            operation: operation.clone(),
            context: about_data(question),
            subject: Arc::clone(&question.subject),
            resource: question.resource.clone(),
            digest: None,
            only: question.only,
        };
        if let Some((asked, pass)) = permitted(exchange, asked, &snapshot) {
            decide::used(&exchange.core, &pass);
            sight.see(class, standing(exchange, Rc::new(asked), &pass));
        }
    }
    exchange.sight = Some(sight);
}

/// Policies about data read nothing of the request but what operation it is.
fn about_data(question: &Question) -> Context {
    let of = &question.context;
    Context {
        now: of.now,
        source: of.source.clone(),
        auth_method: of.auth_method,
        auth_age: of.auth_age,
        request: of.request.clone(),
        http: Known::Value(None),
        params: Known::Value(None),
        body: Known::Value(None),
        seen_in: Some(question.operation.clone()),
    }
}

fn permitted(
    exchange: &Exchange,
    mut asked: Question,
    snapshot: &Snapshot,
) -> Option<(Question, Pass)> {
    asked.locate(&exchange.core, snapshot).ok()?;
    let pass = asked.pass(&exchange.core, snapshot)?;
    Some((asked, pass))
}

/// What is sensitive may have changed since the request was decided. By new rules all of it is masked: nobody
/// was asked what may be seen.
pub(crate) fn follow_rules(exchange: &mut Exchange, snapshot: &Snapshot) {
    let service = exchange.service.as_ref();
    let service = service.and_then(|name| snapshot.bundle().catalog().service(name));
    // Without its service the rules stay; the policies say what else ends.
    let Some(service) = service else { return };
    let known = exchange.sight.as_deref().map(|sight| &sight.sensitive);
    if known != service.sensitive() {
        exchange.sight = Sight::of(service);
    }
}

/// The answer is there, maybe long after the request was decided: what may not be seen any more is
/// masked.
pub(crate) fn look_again(exchange: &mut Exchange) {
    if let Some(newer) = exchange.core.newer_than(&exchange.snapshot) {
        follow_rules(exchange, &newer);
    }
    let Some(sight) = &mut exchange.sight else { return };
    if sight.seen.is_empty() {
        return;
    }
    let core = &exchange.core;
    let (snapshot, now) = (core.snapshot(), core.now());
    let (mut masked, uptime) = (sight.masked, std::time::Instant::now());
    sight.seen.retain_mut(|seen| {
        let over = seen.standing.timed_out(&snapshot, now, uptime);
        let over = over.or_else(|| seen.standing.ended_in(core, &snapshot, now));
        let over = over.or_else(|| seen.standing.denied_by_time(core, &snapshot, now));
        if over.is_some() {
            masked = masked.with(seen.class);
        }
        over.is_none()
    });
    sight.masked = masked;
}
