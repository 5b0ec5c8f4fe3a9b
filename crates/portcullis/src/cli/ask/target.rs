//! What is asked for: the code of a refusal, or operations by name.

use portcullis_api::{refusals::RefusalBody, services::ServiceBody, way::WayBody};
use portcullis_model::{
    ClassName, InstanceName, InvalidName, OperationName, RefusalId, ServiceName,
};

use crate::cli::{failure::Failure, session::Session};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Target {
    /// What a refusal was about.
    Refusal(RefusalId),
    /// Operations, each perhaps on one instance.
    Operations(Vec<(OperationName, Option<InstanceName>)>),
}

impl Target {
    /// Reads the arguments. A code has no dot and an operation has one, so nothing is ambiguous.
    pub(super) fn read(
        targets: &[String],
        instance: Option<&InstanceName>,
    ) -> Result<Self, Failure> {
        if let [only] = targets
            && !only.contains('.')
        {
            let refusal = only.parse().map_err(|_| {
                Failure::WrongUse(format!(
                    "`{only}` is neither the code of a refusal, like 7K2M, nor an operation, like payments.createRefund"
                ))
            })?;
            return match instance {
                None => Ok(Self::Refusal(refusal)),
                Some(_) => Err(Failure::WrongUse(
                    "a refusal knows its instance; leave --instance out".to_owned(),
                )),
            };
        }
        let operations = targets.iter().map(|text| {
            let operation = text.parse::<OperationName>();
            operation.map(|operation| (operation, instance.cloned()))
        });
        let operations = operations.collect::<Result<_, _>>();
        operations.map(Self::Operations).map_err(|error| Failure::WrongUse(error.to_string()))
    }

    /// The same, and to see these classes of data of its service.
    pub(super) fn revealing(self, classes: &[ClassName]) -> Result<Self, Failure> {
        if classes.is_empty() {
            return Ok(self);
        }
        let Self::Operations(mut operations) = self else {
            let why = "name the operation in whose answers you want to see it, like \
                       `portcullis ask payments.getOrder --reveal pci`";
            return Err(Failure::WrongUse(why.to_owned()));
        };
        let Some((first, instance)) = operations.first().cloned() else {
            return Ok(Self::Operations(operations));
        };
        let service: ServiceName = first
            .service()
            .parse()
            .map_err(|error: InvalidName| Failure::WrongUse(error.to_string()))?;
        let seen = classes.iter().map(|class| OperationName::reveal(&service, class));
        operations.extend(seen.map(|operation| (operation, instance.clone())));
        Ok(Self::Operations(operations))
    }

    /// Whether there is something to see among it.
    pub(super) fn is_to_see(&self) -> bool {
        match self {
            Self::Refusal(_) => false,
            Self::Operations(all) => all.iter().any(|(name, _)| name.revealed().is_some()),
        }
    }

    /// What to do if it is not found.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Refusal(_) => {
                "a code is good for an hour, for whoever was refused: send the request again for a new one"
            }
            Self::Operations(_) => "`portcullis services NAME` lists a service's operations",
        }
    }

    /// For each part a title, and what would open it now.
    pub(super) async fn ways(
        &self,
        session: &mut Session<'_>,
    ) -> Result<Vec<(String, Vec<WayBody>)>, Failure> {
        match self {
            Self::Refusal(id) => {
                let fetched = session.get(&format!("/v1/refusals/{id}")).await;
                let fetched = fetched.map_err(|failure| failure.or_try(self.hint()))?;
                let refusal: RefusalBody = fetched.read()?;
                let title = format!("{id}  {} on {}", refusal.operation, refusal.service);
                Ok(vec![(title, refusal.ways)])
            }
            Self::Operations(operations) => {
                let mut parts = Vec::new();
                for (operation, _) in operations {
                    parts.push((operation.to_string(), ways_of(session, operation).await?));
                }
                Ok(parts)
            }
        }
    }
}

async fn ways_of(
    session: &mut Session<'_>,
    operation: &OperationName,
) -> Result<Vec<WayBody>, Failure> {
    let path = format!("/v1/services/{}", operation.service());
    let fetched = session.get(&path).await;
    let fetched = fetched.map_err(|failure| failure.or_try("`portcullis services` lists yours"))?;
    let service: ServiceBody = fetched.read()?;
    if operation.revealed().is_some() {
        let mut classes = service.sensitive.into_iter();
        let found = classes.find(|found| found.operation == operation.as_str());
        return found.map(|found| found.ways).ok_or_else(|| {
            let (service, class) = (operation.service(), operation.revealed().unwrap_or_default());
            Failure::WrongUse(format!(
                "{service} has no class of data `{class}`; `portcullis services {service}` lists them"
            ))
        });
    }
    let found = service.operations.into_iter().find(|found| found.name == operation.as_str());
    found.map(|found| found.ways).ok_or_else(|| {
        let service = operation.service();
        Failure::WrongUse(format!(
            "{service} has no operation `{operation}`; `portcullis services {service}` lists them"
        ))
    })
}
