//! A bundle's source as evidence: its name can be computed again, and a policy's text be found by its id.

use portcullis_model::BundleDigest;

use super::{digest, statements::statements};
use crate::BundleSource;

impl BundleSource {
    /// The name of a bundle that is made from this.
    pub fn digest(&self) -> BundleDigest {
        digest::digest(self)
    }

    /// The file and the text of the policy that is annotated with this id.
    pub fn policy(&self, id: &str) -> Option<(&str, &str)> {
        let annotation = format!("@id(\"{id}\")");
        self.policies.iter().find_map(|file| {
            let texts = statements(&file.text).into_iter();
            let mut texts = texts.filter_map(|statement| file.text.get(statement.range));
            let text = texts.find(|text| text.contains(&annotation))?;
            Some((file.path.as_str(), text.trim()))
        })
    }
}
