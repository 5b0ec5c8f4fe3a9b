//! From settings and files to the source of a bundle.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use portcullis_policy::{
    BundleSource, LoadError, PolicySource, ServiceSource, bundle::OperationsSource,
    edge::EdgeSource,
};

use super::{
    Config,
    cors::Cors,
    headers::Headers,
    section::Problems,
    sensitive::Sensitive,
    service::{AuditLevel, Declared, Service},
    size::Size,
    upstream_tls::UpstreamTls,
};

/// Folders nested deeper than this are a loop.
const DEEPEST: usize = 8;

/// The bundle's source, and the policy tests beside it: each a path and its text.
pub(super) fn read(
    config: &Config,
    base: &Path,
    problems: &Problems,
) -> (BundleSource, Vec<(String, String)>) {
    let folder = base.join(&config.policies);
    let mut paths = Vec::new();
    if let Err(error) = collect(&folder, DEEPEST, &mut paths) {
        let message = format!("the policy folder cannot be read: {error}");
        problems.push(unreadable(&config.policies.to_string_lossy(), message));
    }
    paths.sort();
    let mut source = BundleSource {
        claims: config.identity.claims(),
        user_claims: config.identity.user_claims(),
        clocks: config.clocks.clone(),
        geo: config.geo.is_some(),
        receivers: config.connectors.receivers(),
        decisions: !config.connectors.decisions.is_empty(),
        rotations: config
            .schedules
            .iter()
            .filter_map(|(name, rotation)| Some((name.parse().ok()?, rotation.source())))
            .collect(),
        ..BundleSource::default()
    };
    let mut tests = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
        let is_test = relative.ends_with(".test.yaml");
        if !is_test && path.extension().is_none_or(|extension| extension != "cedar") {
            continue;
        }
        match fs::read_to_string(&path) {
            Ok(text) if is_test => tests.push((relative, text)),
            Ok(text) => source.policies.push(PolicySource { path: relative, text }),
            Err(error) => problems.push(unreadable(&relative, format!("cannot be read: {error}"))),
        }
    }
    source.services =
        config.services.iter().map(|service| service_source(service, base, problems)).collect();
    (source, tests)
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            paths.push(path);
        } else if depth > 0 {
            collect(&path, depth - 1, paths)?;
        }
    }
    Ok(())
}

fn service_source(service: &Service, base: &Path, problems: &Problems) -> ServiceSource {
    ServiceSource {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        path_prefix: service.path_prefix.clone(),
        labels: service.labels.clone(),
        instances: service.upstream.urls(),
        addressed_only: service.upstream.addressed_only().to_vec(),
        operations: operations(&service.operations.declared, service, base, problems),
        groups: service.operations.groups.clone(),
        max_grant: service.max_grant,
        max_hold: service.max_hold,
        max_body: service.max_body.bytes(),
        max_bodies: by_operation(&service.operations.max_body),
        upstream: service.upstream.source(),
        strict_audit: service.audit == AuditLevel::Strict,
        anonymous: service.anonymous,
        edge: EdgeSource {
            upstream_tls: service.upstream.tls.as_ref().map(UpstreamTls::source),
            cors: service.cors.as_ref().map(Cors::source),
            headers: service.headers.as_ref().map(Headers::source),
            sensitive: service.sensitive.as_ref().map(Sensitive::source),
        },
        place: service.place.clone(),
    }
}

fn by_operation(sizes: &BTreeMap<String, Size>) -> BTreeMap<String, u64> {
    sizes.iter().map(|(operation, size)| (operation.clone(), size.bytes())).collect()
}

fn operations(
    declared: &Declared,
    service: &Service,
    base: &Path,
    problems: &Problems,
) -> OperationsSource {
    if let Some(tcp) = service.tcp {
        return OperationsSource::Connect(tcp.limits());
    }
    match declared {
        Declared::Methods => OperationsSource::Methods,
        Declared::Inline(operations) => OperationsSource::Inline(operations.clone()),
        Declared::OpenApi(path) => match fs::read_to_string(base.join(path)) {
            Ok(text) => OperationsSource::OpenApi { path: path.to_string_lossy().into(), text },
            Err(error) => no_document(service, "OpenAPI document", path, &error, problems),
        },
        Declared::Protobuf(path) => match fs::read(base.join(path)) {
            Ok(set) => OperationsSource::Protobuf {
                path: path.to_string_lossy().into(),
                set,
                services: service.operations.services.clone(),
            },
            Err(error) => no_document(service, "set of descriptors", path, &error, problems),
        },
    }
}

fn no_document(
    service: &Service,
    what: &str,
    path: &Path,
    error: &std::io::Error,
    problems: &Problems,
) -> OperationsSource {
    let (file, line) = &service.place;
    let message =
        format!("the {what} `{}` of `{}` cannot be read: {error}", path.display(), service.name);
    problems.push(LoadError { line: *line, ..unreadable(file, message) });
    OperationsSource::Methods
}

fn unreadable(file: &str, message: String) -> LoadError {
    LoadError {
        file: file.to_owned(),
        line: None,
        column: None,
        snippet: None,
        message,
        help: Some("check the path and its permissions".into()),
    }
}
