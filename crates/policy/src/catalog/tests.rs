//! What the catalogue promises, beside it.

mod connecting;
mod forms;
mod inspection;
mod loading;
mod matching;
mod messages;
mod parameters;
mod protobuf;
mod reading;
mod readings;
mod types;

use indexmap::IndexMap;

use super::{Catalog, Operation};
use crate::{
    LoadError,
    bundle::{OperationsSource, ServiceSource},
};

fn service(name: &str, operations: OperationsSource) -> ServiceSource {
    ServiceSource {
        name: name.parse().unwrap(),
        hosts: vec![format!("{name}.example.com")],
        path_prefix: None,
        labels: std::collections::BTreeMap::new(),
        instances: IndexMap::from([
            ("p-1".parse().unwrap(), "http://10.0.0.5:8080".to_owned()),
            ("p-2".parse().unwrap(), "h2c://10.0.0.6:8080".to_owned()),
        ]),
        addressed_only: Vec::new(),
        operations,
        groups: std::collections::BTreeMap::new(),
        max_grant: "8h".parse().unwrap(),
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: std::collections::BTreeMap::new(),
        upstream: crate::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: false,
        edge: crate::edge::EdgeSource::default(),
        place: ("portcullis.yaml".to_owned(), Some(7)),
    }
}

fn inline(entries: &[(&str, &str)]) -> OperationsSource {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    OperationsSource::Inline(entries.iter().map(own).collect())
}

fn openapi(text: &str) -> OperationsSource {
    OperationsSource::OpenApi { path: "apis/payments.yaml".to_owned(), text: text.to_owned() }
}

fn payments(operations: OperationsSource) -> Catalog {
    match Catalog::load(&[service("payments", operations)]) {
        Ok(catalog) => catalog,
        Err(errors) => panic!("{errors:#?}"),
    }
}

fn errors(services: &[ServiceSource]) -> Vec<LoadError> {
    Catalog::load(services).map(|_| ()).unwrap_err()
}

fn operation<'a>(catalog: &'a Catalog, name: &str) -> &'a Operation {
    catalog.operation(&format!("payments.{name}").parse().unwrap()).unwrap()
}

fn matched<'a>(catalog: &'a Catalog, method: &str, path: &str) -> Option<&'a str> {
    let service = catalog.service(&"payments".parse().unwrap()).unwrap();
    service.matching(method, path).map(|found| found.operation.name().local())
}

const DOCUMENT: &str = r##"
openapi: 3.0.3
info: {title: Payments, version: "1"}
servers:
  - url: https://payments.example.com/v1/
paths:
  /refunds:
    parameters:
      - {name: tenant, in: query, schema: {type: string}}
    get:
      operationId: searchRefunds
      parameters:
        - {name: tenant, in: query, required: true, schema: {type: integer}}
        - {name: tag, in: query, schema: {type: array, items: {type: string}}}
        - {name: ids, in: query, explode: false, schema: {type: array, items: {type: integer}}}
        - {name: least, in: query, schema: {type: number}}
        - {name: open, in: query, schema: {type: boolean}}
        - {name: X-Trace, in: header, schema: {type: string}}
        - {name: filter, in: query, style: deepObject, schema: {type: object, properties: {a: {type: string}}}}
      responses: {200: {description: fine}}
    post:
      operationId: createRefund
      requestBody: {$ref: "#/components/requestBodies/Refund"}
  /refunds/{id}:
    get:
      parameters:
        - {$ref: "#/components/parameters/Id"}
components:
  parameters:
    Id: {name: id, in: path, required: true, schema: {type: integer, format: int64}}
  requestBodies:
    Refund:
      required: true
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Refund"}
  schemas:
    Money:
      type: object
      required: [amount, currency]
      properties:
        amount: {type: integer}
        currency: {type: string, enum: [EUR, USD]}
    Refund:
      allOf:
        - $ref: "#/components/schemas/Money"
        - type: object
          required: [note, rate, id]
          properties:
            id: {type: string, readOnly: true}
            note: {type: string, nullable: true}
            rate: {type: number}
            urgent: {type: boolean}
            tags: {type: array, items: {type: string}}
            lines:
              type: array
              items: {type: object, required: [sku], properties: {sku: {type: string}, pieces: {type: integer}}}
            parent: {$ref: "#/components/schemas/Refund"}
            extra: {type: object, additionalProperties: {type: string}}
            either: {oneOf: [{type: string}, {type: integer}]}
            anything: {}
            holes: {type: array, items: {type: string, nullable: true}}
"##;
