//! One service, and which of its operations a request is.

use std::sync::Arc;

use portcullis_model::OperationName;

use super::{Operation, template::Template, trie::Trie};
use crate::{bundle::ServiceSource, edge::HeaderRules, sensitive::Sensitive};

/// One service.
#[derive(Debug)]
pub struct Service {
    source: ServiceSource,
    /// Sorted by name.
    operations: Vec<Operation>,
    tries: Vec<(Arc<str>, Trie)>,
    /// Operations that are a method, whatever the path.
    methods: Vec<(Arc<str>, usize)>,
    /// Of its source, to be kept by requests.
    header_rules: Option<Arc<HeaderRules>>,
    sensitive: Option<Arc<Sensitive>>,
    /// What it is to see each class of it, in their order.
    reveals: Vec<OperationName>,
}

/// An operation found for a method and path.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Raw (still percent-encoded) path parameters, in template order.
    pub path_params: Vec<(&'a str, String)>,
}

impl Service {
    /// Compiles `operations`, sorted by name, names unique. The second half lists, by index, pairs
    /// of operations that match the same requests; with any, the service is of no use.
    pub(super) fn new(
        source: ServiceSource,
        operations: Vec<Operation>,
    ) -> (Self, Vec<(usize, usize)>) {
        let header_rules = source.edge.headers.clone().map(Arc::new);
        let (tries, methods) = (Vec::new(), Vec::new());
        // INVARIANT: what does not compile was reported, and the bundle is of no use.
        let sensitive = source.edge.sensitive.as_ref().and_then(|of| Sensitive::new(of).ok());
        let all = sensitive.iter().flat_map(|sensitive| &sensitive.classes);
        let reveals = all.map(|class| OperationName::reveal(&source.name, &class.name)).collect();
        let sensitive = sensitive.map(Arc::new);
        let mut service =
            Self { source, operations, tries, methods, header_rules, sensitive, reveals };
        let mut clashes = Vec::new();
        for index in 0..service.operations.len() {
            clashes.extend(service.add(index).err().map(|first| (first, index)));
        }
        service.read_heads_as_gets();
        (service, clashes)
    }

    /// As configured: name, hosts, instances, limits.
    pub fn source(&self) -> &ServiceSource {
        &self.source
    }

    /// What is changed in the headers of its requests and answers.
    pub fn header_rules(&self) -> Option<&Arc<HeaderRules>> {
        self.header_rules.as_ref()
    }

    /// What of its data is sensitive.
    pub fn sensitive(&self) -> Option<&Arc<Sensitive>> {
        self.sensitive.as_ref()
    }

    /// What it is to see each class of its data, in the order of the classes.
    pub fn reveals(&self) -> &[OperationName] {
        &self.reveals
    }

    /// Its operations, by name.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    /// The operation that `method` on `path` (canonical, no query) is. HEAD where only GET is
    /// declared is that GET.
    pub fn matching(&self, method: &str, path: &str) -> Option<Matched<'_>> {
        let index = match self.trie(method) {
            Some(trie) => trie.lookup(path)?,
            None => self.methods.iter().find(|(own, _)| **own == *method)?.1,
        };
        let operation = self.operations.get(index)?;
        let path_params = operation.template().map_or_else(Vec::new, |to| path_params(to, path));
        Some(Matched { operation, path_params })
    }

    /// What it is to open a connection, if it is a TCP service.
    pub fn connect(&self) -> Option<&Operation> {
        self.operations.first().filter(|operation| operation.is_connect())
    }

    pub(super) fn operation(&self, name: &OperationName) -> Option<&Operation> {
        let at = self.operations.binary_search_by(|operation| operation.name().cmp(name)).ok()?;
        self.operations.get(at)
    }

    fn trie(&self, method: &str) -> Option<&Trie> {
        self.tries.iter().find(|(own, _)| **own == *method).map(|(_, trie)| trie)
    }

    fn trie_mut(&mut self, method: &Arc<str>) -> Option<&mut Trie> {
        if self.trie(method).is_none() {
            self.tries.push((Arc::clone(method), Trie::default()));
        }
        self.tries.iter_mut().find(|(own, _)| own == method).map(|(_, trie)| trie)
    }

    fn add(&mut self, index: usize) -> Result<(), usize> {
        let Some(operation) = self.operations.get(index) else { return Ok(()) };
        let method = Arc::clone(operation.method_text());
        let Some(template) = operation.template().cloned() else {
            self.methods.push((method, index));
            return Ok(());
        };
        self.trie_mut(&method).map_or(Ok(()), |trie| trie.insert(&template, index))
    }

    /// RFC 9110, 9.3.2: HEAD is GET without the content. A declared HEAD of the same path stays.
    fn read_heads_as_gets(&mut self) {
        let gets: Vec<(usize, Template)> = (self.operations.iter().enumerate())
            .filter(|(_, operation)| operation.method() == "GET")
            .filter_map(|(index, operation)| Some((index, operation.template()?.clone())))
            .collect();
        for (index, template) in gets {
            if let Some(trie) = self.trie_mut(&"HEAD".into()) {
                let _declared = trie.insert(&template, index);
            }
        }
    }
}

fn path_params<'a>(template: &'a Template, path: &str) -> Vec<(&'a str, String)> {
    let mut segments = path.split('/').skip(1).enumerate();
    let mut value = |wanted| segments.find(|(index, _)| *index == wanted).map(|(_, text)| text);
    template
        .params()
        .filter_map(|(index, name)| Some((&**name, value(index)?.to_owned())))
        .collect()
}
