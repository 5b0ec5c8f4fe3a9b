//! A bundle's name: the digest of all that it is made from.

use std::fmt::Write;

use portcullis_model::{BundleDigest, ScheduleName};
use sha2::{Digest, Sha256};

use crate::{
    BundleSource, PolicySource, ServiceSource,
    bundle::{OperationsSource, RotationSource, TcpLimits},
    schema::group_name,
};

/// The digest of `source`. Places are not content; the order of files and of services is not either.
pub(super) fn digest(source: &BundleSource) -> BundleDigest {
    // INVARIANT: every pattern below is exhaustive, so that a new field cannot be forgotten here.
    let BundleSource {
        policies,
        services,
        labels,
        claims,
        user_claims,
        clocks,
        geo,
        rotations,
        receivers,
        decisions,
    } = source;
    let mut hash = Fields::default();
    let mut policies: Vec<&PolicySource> = policies.iter().collect();
    policies.sort_by(|a, b| a.path.cmp(&b.path));
    hash.list(policies.len());
    for PolicySource { path, text } in policies {
        hash.text(path);
        hash.text(text);
    }
    let mut services: Vec<&ServiceSource> = services.iter().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    hash.list(services.len());
    for service in services {
        hash.service(service);
    }
    hash.list(labels.len());
    for (key, required) in labels {
        hash.text(key);
        hash.flag(*required);
    }
    for claims in [claims, user_claims, clocks] {
        hash.list(claims.len());
        for (claim, ty) in claims {
            hash.text(claim);
            hash.text(ty);
        }
    }
    hash.flag(*geo);
    hash.list(rotations.len());
    for (name, rotation) in rotations {
        hash.rotation(name, rotation);
    }
    // What has neither keeps the name that it had before there were such.
    if !receivers.is_empty() {
        hash.list(receivers.len());
        for receiver in receivers {
            hash.text(receiver);
        }
    }
    if *decisions {
        hash.flag(true);
    }
    hash.finish()
}

#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.list(bytes.len());
        self.0.update(bytes);
    }

    /// The length of what follows, so that no two sources have one serialisation.
    fn list(&mut self, length: usize) {
        self.0.update(u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.update([u8::from(flag)]);
    }

    fn rotation(&mut self, name: &ScheduleName, rotation: &RotationSource) {
        let RotationSource { people, zone, from, every_days } = rotation;
        self.text(name.as_str());
        self.list(people.len());
        for person in people {
            self.text(person);
        }
        for text in [zone, from, &every_days.to_string()] {
            self.text(text);
        }
    }

    fn service(&mut self, service: &ServiceSource) {
        let ServiceSource {
            name,
            hosts,
            path_prefix,
            labels,
            instances,
            addressed_only,
            operations,
            groups,
            max_grant,
            max_hold,
            max_body,
            max_bodies,
            upstream,
            strict_audit,
            anonymous,
            edge,
            place: _,
        } = service;
        self.text(name.as_str());
        self.list(hosts.len());
        for host in hosts {
            self.text(host);
        }
        self.flag(path_prefix.is_some());
        self.text(path_prefix.as_deref().unwrap_or_default());
        self.list(labels.len());
        for (key, value) in labels {
            self.text(key);
            self.text(value);
        }
        self.list(instances.len());
        for (instance, url) in instances {
            self.text(instance.as_str());
            self.text(url);
        }
        self.list(addressed_only.len());
        for instance in addressed_only {
            self.text(instance.as_str());
        }
        self.operations(operations);
        self.list(groups.len());
        for (operation, group) in groups {
            self.text(operation);
            self.text(group_name(*group));
        }
        self.text(&max_grant.get().as_nanos().to_string());
        self.text(&max_hold.get().as_nanos().to_string());
        self.text(&max_body.to_string());
        self.list(max_bodies.len());
        for (operation, max_body) in max_bodies {
            self.text(operation);
            self.text(&max_body.to_string());
        }
        // Sorted maps and plain numbers: one text for one value.
        self.text(&serde_json::to_string(upstream).unwrap_or_default());
        self.flag(*strict_audit);
        self.flag(*anonymous);
        // Without a map in it, one value has one text.
        self.text(&serde_json::to_string(edge).unwrap_or_default());
    }

    fn operations(&mut self, operations: &OperationsSource) {
        match operations {
            OperationsSource::Methods => self.text("methods"),
            OperationsSource::OpenApi { path, text } => {
                self.text("openapi");
                self.text(path);
                self.text(text);
            }
            OperationsSource::Protobuf { path, set, services } => {
                self.text("protobuf");
                self.text(path);
                self.bytes(set);
                self.list(services.len());
                for service in services {
                    self.text(service);
                }
            }
            OperationsSource::Inline(routes) => {
                self.text("inline");
                self.list(routes.len());
                for (name, route) in routes {
                    self.text(name);
                    self.text(route);
                }
            }
            OperationsSource::Connect(TcpLimits { idle, max_bytes }) => {
                self.text("connect");
                self.text(&idle.get().as_nanos().to_string());
                self.flag(max_bytes.is_some());
                self.text(&max_bytes.unwrap_or_default().to_string());
            }
        }
    }

    fn finish(self) -> BundleDigest {
        let mut text = String::from("sha256:");
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        BundleDigest(text.into())
    }
}
