//! The form that asks: what for, which way, why, for how long.

use askama::Template;
use portcullis_control::{
    Control, ControlError, OpContext,
    views::{Ask, OperationView, Reach, RefusalView},
};
use portcullis_model::{OperationName, ServiceName, Way};

use super::super::{
    Failure,
    fields::{Fields, read, windows},
    frame::Frame,
};
use crate::{
    access_requests::{AskBody, AskQueryBody},
    error::ApiError,
};

/// What is asked for, with the ways to it.
#[derive(Debug)]
pub(super) struct Subject {
    operations: Vec<OperationName>,
    refusal: Option<RefusalView>,
    /// Instances that one can be chosen from.
    instances: Vec<String>,
    /// Classes of data that can be asked for beside.
    classes: Vec<Class>,
    ways: Vec<Way>,
    /// Operations that need no asking.
    open: Vec<String>,
    back: Option<String>,
}

/// A class of sensitive data.
#[derive(Debug)]
struct Class {
    name: String,
    way: Way,
}

impl Subject {
    /// Operations of one service that an address or a form names.
    pub(super) async fn operations(
        control: &Control,
        op: &OpContext,
        fields: &Fields,
    ) -> Result<Self, Failure> {
        let named = fields.all("operation").into_iter();
        let operations: Vec<OperationName> =
            named.map(|name| read("operation", name)).collect::<Result<_, _>>()?;
        let first = operations.first().ok_or_else(|| Failure::unreadable("name an operation"))?;
        let service: ServiceName = read("operation", first.service())?;
        let seen = control.service(op, &service).await?;
        let (mut ways, mut open) = (None::<Vec<Way>>, Vec::new());
        for name in &operations {
            let found = seen.operations.iter().find(|operation| operation.name == *name);
            let found = found.ok_or(ControlError::NotFound("the operation"))?;
            match &found.reach {
                Reach::Open | Reach::Conditional(_) => open.push(name.local().to_owned()),
                Reach::Requestable(these) => ways = Some(common(ways, these)),
                Reach::Closed => {}
            }
        }
        let instances = match seen.instances.as_slice() {
            [] | [_] => Vec::new(),
            several => several.iter().map(ToString::to_string).collect(),
        };
        let classes = seen.classes.iter().filter_map(Class::of).collect();
        let (ways, refusal) = (ways.unwrap_or_default(), None);
        let back = fields.back(control);
        Ok(Self { operations, refusal, instances, classes, ways, open, back })
    }

    /// What a refusal was about.
    pub(super) fn refusal(view: RefusalView, back: Option<String>) -> Self {
        Self {
            operations: vec![view.operation.clone()],
            instances: Vec::new(),
            classes: Vec::new(),
            ways: view.ways.clone(),
            open: Vec::new(),
            refusal: Some(view),
            back,
        }
    }

    pub(super) fn back(&self) -> Option<&str> {
        self.back.as_deref()
    }

    /// What the form says.
    pub(super) fn ask(&self, fields: &Fields) -> Result<Ask, ControlError> {
        let (rule, incident) = match fields.text("way").split_once(' ') {
            Some((rule, incident)) => (rule, Some(incident).filter(|text| !text.is_empty())),
            None => (fields.text("way"), None),
        };
        let rule = Some(rule).filter(|rule| !rule.is_empty());
        let (refusal, queries) = match &self.refusal {
            Some(refusal) => (Some(refusal.id.clone()), None),
            None => (None, Some(self.queries(fields)?)),
        };
        let body = AskBody {
            refusal,
            queries,
            rule: rule.map(|rule| read("way", rule)).transpose()?,
            incident: incident.map(|id| read("way", id)).transpose()?,
            reason: fields.text("reason").to_owned(),
            duration: fields.one("duration")?,
        };
        body.into_ask().map_err(|error| match error {
            ApiError::Control(error) => error,
            other => ControlError::Internal(Box::new(other)),
        })
    }

    /// Each operation; with data to be seen, once for each class of it.
    fn queries(&self, fields: &Fields) -> Result<Vec<AskQueryBody>, ControlError> {
        let instance = fields.one("instance")?;
        let classes = fields.all("reveal").into_iter().map(|class| read("reveal", class).map(Some));
        let mut classes = classes.collect::<Result<Vec<_>, _>>()?;
        if classes.is_empty() {
            classes.push(None);
        }
        let each = self.operations.iter().flat_map(|operation| {
            classes.iter().map(|reveal| AskQueryBody {
                operation: operation.clone(),
                instance: instance.clone(),
                reveal: reveal.clone(),
                rule: None,
            })
        });
        Ok(each.collect())
    }
}

/// Of ways to several operations, those that lead to all of them.
fn common(before: Option<Vec<Way>>, these: &[Way]) -> Vec<Way> {
    let same = |one: &Way, other: &Way| one.rule == other.rule && one.incident == other.incident;
    match before {
        None => these.to_vec(),
        Some(mut ways) => {
            ways.retain(|way| these.iter().any(|other| same(way, other)));
            ways
        }
    }
}

impl Class {
    fn of(class: &OperationView) -> Option<Self> {
        let Reach::Requestable(ways) = &class.reach else { return None };
        let name = class.name.revealed()?.to_owned();
        Some(Self { name, way: ways.first()?.clone() })
    }
}

/// The page of the form.
#[derive(Debug, Template)]
#[template(path = "console/asking.html")]
pub(super) struct Asking {
    frame: Frame,
    subject: Subject,
    /// Why it could not be done as it was sent.
    problem: Option<String>,
    ways: Vec<Choice>,
    windows: Vec<String>,
    reason: String,
    duration: String,
    instance: String,
    reveals: Vec<String>,
    /// Where the form goes.
    action: String,
}

/// A way that can be chosen.
#[derive(Debug)]
struct Choice {
    value: String,
    way: Way,
    chosen: bool,
}

impl Asking {
    pub(super) fn new(
        frame: Frame,
        subject: Subject,
        fields: &Fields,
        problem: Option<String>,
    ) -> Self {
        let wanted = fields.text("way");
        let value = |way: &Way| {
            let incident = way.incident.as_ref().map(ToString::to_string);
            format!("{} {}", way.rule, incident.unwrap_or_default())
        };
        // Nothing is an emergency because nobody chose another way.
        let mut ways: Vec<Choice> = subject
            .ways
            .iter()
            .map(|way| Choice { value: value(way), way: way.clone(), chosen: false })
            .collect();
        let chosen = ways
            .iter()
            .position(|choice| {
                let named = !wanted.is_empty() && choice.value.trim() == wanted;
                named && (problem.is_some() || !choice.way.is_emergency())
            })
            .or_else(|| ways.iter().position(|choice| !choice.way.is_emergency()));
        if let Some(choice) = chosen.and_then(|at| ways.get_mut(at)) {
            choice.chosen = true;
        }
        let classes = subject.classes.iter().map(|class| class.way.max_duration);
        let longest = subject.ways.iter().map(|way| way.max_duration).chain(classes).max();
        let action = match &subject.refusal {
            Some(refusal) => format!("/ask/{}", refusal.id),
            None => "/ask".to_owned(),
        };
        Self {
            frame,
            problem,
            ways,
            windows: longest.map(windows).unwrap_or_default(),
            reason: fields.text("reason").to_owned(),
            duration: fields.text("duration").to_owned(),
            instance: fields.text("instance").to_owned(),
            reveals: fields.all("reveal").into_iter().map(str::to_owned).collect(),
            action,
            subject,
        }
    }

    /// Whether there is anything to ask for.
    fn can_ask(&self) -> bool {
        !self.ways.is_empty() || !self.subject.classes.is_empty()
    }

    /// Whether data of this class was ticked.
    fn reveals(&self, class: &str) -> bool {
        self.reveals.iter().any(|ticked| ticked == class)
    }
}
