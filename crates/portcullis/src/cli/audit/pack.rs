//! An evidence pack, proved with the log's key and nothing else.

use std::collections::BTreeMap;

use portcullis_api::evidence::{
    EvidenceBody, FORMAT, contents,
    pack::{self, CHECKPOINT, Files, JSON, KEYS, MANIFEST},
};
use portcullis_control::{Evidence, EvidenceSubject, views::EventLine};
use portcullis_log::{Keys, Proven, RecordProof};
use portcullis_model::Opening;
use portcullis_policy::BundleSource;
use serde_json::Value;

/// What was proved.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) body: EvidenceBody,
    pub(super) records: usize,
    pub(super) bundles: usize,
    /// Of the record that says which pack was given.
    pub(super) given: Proven,
}

/// Proves the pack in `bytes`; says what the first thing is that is wrong with it.
pub(super) fn verify(bytes: &[u8], keys: &Keys) -> Result<Shown, String> {
    let mut files = pack::read(bytes)?;
    let proven = records(&mut files, keys)?;
    let Some((&last, given)) = proven.last_key_value() else {
        return Err("it holds no record".to_owned());
    };
    let (given, given_text) = given.clone();
    let manifest = files.remove(MANIFEST).ok_or("`manifest` is missing")?;
    check_given(&given_text, &manifest)?;
    let bundles = bundles(&files, &proven)?;
    let records: Vec<EventLine> = proven
        .into_iter()
        .filter(|(seq, _)| *seq != last)
        .map(|(seq, (_, json))| EventLine { seq, json })
        .collect();
    check_manifest(&files, &records, &manifest)?;
    let contents = contents(&files, &records)?;
    let count = records.len();
    let number = bundles.len();
    let body = check_body(&files, records, bundles, contents)?;
    Ok(Shown { body, records: count, bundles: number, given })
}

type Records = BTreeMap<u64, (Proven, String)>;

/// All records with their proofs, taken out of `files`; every one at the same checkpoint.
fn records(files: &mut Files, keys: &Keys) -> Result<Records, String> {
    let checkpoint = files.remove(CHECKPOINT).ok_or("`checkpoint` is missing")?;
    let names: Vec<String> =
        files.keys().filter(|name| name.starts_with("proofs/")).cloned().collect();
    let mut found = Records::new();
    for name in names {
        let wrong = |what: &str| format!("`{name}`: {what}");
        let text = files.remove(&name).unwrap_or_default();
        let text = String::from_utf8(text).map_err(|_| wrong("it is no text"))?;
        let proof = RecordProof::parse(&text).map_err(|what| wrong(&what))?;
        if pack::proof(proof.seq) != name {
            return Err(wrong("it is the proof of another record"));
        }
        if proof.checkpoint.as_bytes() != checkpoint || !proof.leaf.is_empty() {
            return Err(wrong("it does not lead to the checkpoint of this pack"));
        }
        let record = pack::record(proof.seq);
        let leaf = files.remove(&record).ok_or_else(|| format!("`{record}` is missing"))?;
        let proven = proof.verify(&leaf, keys).map_err(|what| format!("`{record}`: {what}"))?;
        let leaf = String::from_utf8(leaf).map_err(|_| format!("`{record}` is no text"))?;
        found.insert(proof.seq, (proven, leaf));
    }
    match files.keys().find(|name| name.starts_with("records/")) {
        Some(unproved) => Err(format!("`{unproved}` has no proof")),
        None => Ok(found),
    }
}

/// The last record says which manifest was given.
fn check_given(record: &str, manifest: &[u8]) -> Result<(), String> {
    let record: Value = serde_json::from_str(record).map_err(|error| error.to_string())?;
    let member = |name: &str| record.get(name).and_then(Value::as_str);
    if member("type") != Some("evidence_given") {
        return Err("its last record does not say that it was given".to_owned());
    }
    if member("detail") != Some(&pack::digest(manifest)) {
        return Err(
            "`manifest` is not the one that was given: its last record names another".to_owned()
        );
    }
    Ok(())
}

fn check_manifest(files: &Files, records: &[EventLine], manifest: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(manifest);
    let mut named: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once("  ")).map(|(d, n)| (n, d)).collect();
    let records = records.iter().map(|one| (pack::record(one.seq), one.json.as_bytes()));
    let files = files.iter().map(|(name, content)| (name.clone(), content.as_slice()));
    for (name, content) in files.chain(records) {
        let digest = pack::digest(content);
        if named.remove(name.as_str()) != digest.strip_prefix("sha256:") {
            return Err(format!("`{name}` is not what was given"));
        }
    }
    match named.keys().next() {
        Some(missing) => Err(format!("`{missing}` is missing")),
        None => Ok(()),
    }
}

/// The bundles' sources have the digests that records name.
fn bundles(files: &Files, records: &Records) -> Result<BTreeMap<String, Value>, String> {
    let mut named = BTreeMap::new();
    for (_, record) in records.values() {
        let record: Value = serde_json::from_str(record).unwrap_or_default();
        if let Some(digest) = record.pointer("/bundle/digest").and_then(Value::as_str) {
            named.insert(pack::bundle(digest), digest.to_owned());
        }
    }
    let mut found = BTreeMap::new();
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("bundles/")) {
        let digest = named.get(name).ok_or_else(|| format!("no record names `{name}`"))?;
        let source: Value =
            serde_json::from_slice(text).map_err(|error| format!("`{name}`: {error}"))?;
        let read: BundleSource =
            serde_json::from_value(source.clone()).map_err(|error| format!("`{name}`: {error}"))?;
        if read.digest().to_string() != *digest {
            return Err(format!(
                "`{name}` is not the bundle that decided: its digest is {}",
                read.digest()
            ));
        }
        found.insert(digest.clone(), source);
    }
    Ok(found)
}

/// What was kept of requests is what their records commit to.
fn contents(files: &Files, records: &[EventLine]) -> Result<BTreeMap<u64, Opening>, String> {
    let mut found = BTreeMap::new();
    let named: BTreeMap<String, &EventLine> =
        records.iter().map(|line| (pack::kept(line.seq), line)).collect();
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("contents/")) {
        let line = named.get(name).ok_or_else(|| format!("`{name}` is of no record"))?;
        let note = contents::note(&line.json);
        let note =
            note.ok_or_else(|| format!("record {} does not commit to `{name}`", line.seq))?;
        let opening: Opening =
            serde_json::from_slice(text).map_err(|error| format!("`{name}`: {error}"))?;
        if opening.commitment() != note.commitment {
            return Err(format!("`{name}` is not what record {} commits to", line.seq));
        }
        found.insert(line.seq, opening);
    }
    Ok(found)
}

/// The document says what the records say, and nothing else.
fn check_body(
    files: &Files,
    records: Vec<EventLine>,
    bundles: BTreeMap<String, Value>,
    contents: BTreeMap<u64, Opening>,
) -> Result<EvidenceBody, String> {
    let text = files.get(JSON).ok_or_else(|| format!("`{JSON}` is missing"))?;
    let body: EvidenceBody =
        serde_json::from_slice(text).map_err(|error| format!("`{JSON}`: {error}"))?;
    let kind = ["grant", "access_request", "incident"].into_iter().find(|kind| *kind == body.kind);
    let kind = kind.ok_or_else(|| format!("`{JSON}` is about a `{}`", body.kind))?;
    let subject = EvidenceSubject { kind, id: body.id.clone() };
    let (made_by, made_at) = (body.made_by.clone(), body.made_at);
    let (looked_through, removed) = (body.looked_through, body.removed.clone());
    let evidence =
        Evidence { subject, made_by, made_at, looked_through, removed, records, bundles, contents };
    let again = EvidenceBody::of(&evidence);
    if body.format == FORMAT && again != body {
        return Err(format!("`{JSON}` does not say what the records say"));
    }
    if !files.contains_key(KEYS) {
        return Err(format!("`{KEYS}` is missing"));
    }
    Ok(body)
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
