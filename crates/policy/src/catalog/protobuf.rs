//! Operations from a set of protobuf descriptors: one for each method of gRPC, and its one message as
//! the body.

mod frame;
mod message;

use std::collections::BTreeMap;

use prost_reflect::{
    DescriptorPool, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
    prost_types::method_options::IdempotencyLevel,
};

use super::{
    InspectError,
    declared::{Body, Draft, Place},
    template::Template,
    types::RecordType,
};
use crate::{LoadError, bundle::OperationGroup, context::Record};
use message::Plan;

/// A larger set describes more than any service has.
const MAX_SET: usize = 4 << 20;

/// A method of gRPC.
#[derive(Debug, Clone)]
pub struct ProtobufMethod {
    /// What clients send.
    pub input: MessageDescriptor,
    /// What the service answers.
    pub output: MessageDescriptor,
    /// Clients send any number of messages, and not one.
    pub client_streaming: bool,
    /// The service sends any number of messages, and not one.
    pub server_streaming: bool,
}

/// What clients send of a method, as policies read it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    plan: Plan,
    ty: RecordType,
}

/// Where descriptors come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetSource<'a> {
    pub(super) path: &'a str,
    pub(super) set: &'a [u8],
    /// Full names of the services that count; none: all of them.
    pub(super) services: &'a [String],
}

/// All methods of the chosen services; mistakes go to `errors`.
pub(super) fn drafts(
    source: SetSource<'_>,
    place: &Place,
    errors: &mut Vec<LoadError>,
) -> Vec<Draft> {
    match chosen(source, place) {
        Ok(services) => {
            let methods: Vec<MethodDescriptor> =
                services.iter().flat_map(ServiceDescriptor::methods).collect();
            let file = Place { file: source.path.to_owned(), line: None, snippet: None };
            let mut names = names(&methods);
            methods
                .iter()
                .filter_map(|method| {
                    let name = names.remove(method.full_name()).unwrap_or_default();
                    draft(name, method, &file).map_err(|error| errors.push(*error)).ok()
                })
                .collect()
        }
        Err(more) => {
            errors.extend(more);
            Vec::new()
        }
    }
}

fn chosen(source: SetSource<'_>, place: &Place) -> Result<Vec<ServiceDescriptor>, Vec<LoadError>> {
    let file = Place { file: source.path.to_owned(), line: None, snippet: None };
    let made = "make it with `protoc --include_imports --descriptor_set_out` or `buf build`";
    let wrong = |message: String| vec![file.error(message, Some(made.to_owned()))];
    if source.set.len() > MAX_SET {
        return Err(wrong(format!("the set is over {MAX_SET} bytes")));
    }
    let pool = DescriptorPool::decode(source.set)
        .map_err(|what| wrong(format!("this is no set of protobuf descriptors: {what}")))?;
    if source.services.is_empty() {
        let services: Vec<ServiceDescriptor> = pool.services().collect();
        let none = || wrong("the set has no service of gRPC".to_owned());
        return if services.is_empty() { Err(none()) } else { Ok(services) };
    }
    let mut errors = Vec::new();
    let mut services: Vec<ServiceDescriptor> = Vec::new();
    for name in source.services {
        match pool.get_service_by_name(name) {
            Some(service) if !services.contains(&service) => services.push(service),
            Some(_) => errors.push(place.error(format!("service `{name}` is chosen twice"), None)),
            None => {
                let known = pool.services().map(|service| format!("`{}`", service.full_name()));
                let help = format!("it has {}", known.collect::<Vec<_>>().join(", "));
                let message = format!("`{}` has no service `{name}`", source.path);
                errors.push(place.error(message, Some(help)));
            }
        }
    }
    if errors.is_empty() { Ok(services) } else { Err(errors) }
}

/// What each method is called, by its full name: by its own name where no other has that, else with
/// its service's, else in full.
fn names(methods: &[MethodDescriptor]) -> BTreeMap<String, String> {
    let short = |method: &MethodDescriptor| method.name().to_owned();
    let longer =
        |method: &MethodDescriptor| format!("{}.{}", method.parent_service().name(), method.name());
    let count = |name: &dyn Fn(&MethodDescriptor) -> String, wanted: &str| {
        methods.iter().filter(|method| name(method) == wanted).count()
    };
    let name = |method: &MethodDescriptor| {
        let (short_name, longer_name) = (short(method), longer(method));
        if count(&short, &short_name) == 1 {
            short_name
        } else if count(&longer, &longer_name) == 1 {
            longer_name
        } else {
            method.full_name().to_owned()
        }
    };
    methods.iter().map(|method| (method.full_name().to_owned(), name(method))).collect()
}

fn draft(name: String, method: &MethodDescriptor, place: &Place) -> Result<Draft, Box<LoadError>> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let wrong = |what| Box::new(place.error(format!("method `{name}`: {what}"), None));
    let template = Template::parse("", &path).map_err(wrong)?;
    let protobuf = ProtobufMethod {
        input: method.input(),
        output: method.output(),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    };
    let options = method.method_descriptor_proto().options.as_ref();
    let is_read = options
        .is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects);
    let input = Input::new(&protobuf.input).map_err(wrong)?;
    Ok(Draft {
        name,
        method: "POST".into(),
        template: Some(template),
        params: Vec::new(),
        body: input.map(Body::Message),
        group: Some(if is_read { OperationGroup::Read } else { OperationGroup::Write }),
        protobuf: Some(Box::new(protobuf)),
        place: place.clone(),
    })
}

impl Input {
    /// `None` if nothing of the message maps.
    pub(super) fn new(message: &MessageDescriptor) -> Result<Option<Self>, String> {
        let plan = message::plan(message)?;
        Ok(plan.map(|(plan, ty)| Self { plan, ty }))
    }

    pub(super) fn ty(&self) -> &RecordType {
        &self.ty
    }

    /// The one message of a call, `bytes`, that is `coded` as `grpc-encoding` says. Decoded, it has at
    /// most `most` bytes.
    pub(super) fn record(
        &self,
        bytes: &[u8],
        coded: Option<&[u8]>,
        most: u64,
    ) -> Result<Record, InspectError> {
        let message = frame::only(bytes, coded, most)?;
        self.plan.record(&message)
    }
}
