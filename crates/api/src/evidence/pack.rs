//! The archive: what is in it, and what it is held together by.
//!
//! ```text
//! evidence.html, evidence.json   for people, for programs
//! README.txt                     how to verify it
//! records/, proofs/, checkpoint  each record as it was hashed, its path, and the signed root
//! bundles/                       the sources of the bundles that decided
//! contents/                      what was kept of requests, with its salts
//! log.pub                        the log's public keys, for comparison with those that you have
//! manifest                       the SHA-256 of each of them; its own is in the last record
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Cursor, Read, Write as _},
};

use portcullis_control::{Evidence, EvidenceProof};
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{body::EvidenceBody, html, shape};

/// The files of a pack by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What every other file is named in.
pub const MANIFEST: &str = "manifest";
/// The signed note that the proofs lead to.
pub const CHECKPOINT: &str = "checkpoint";
/// The log's keys.
pub const KEYS: &str = "log.pub";
/// The document for programs.
pub const JSON: &str = "evidence.json";
/// The most bytes of a pack, taken apart.
pub const MOST_BYTES: u64 = 1 << 30;

const README: &str = "This archive shows what is on record of one thing. Open evidence.html to read it.

It verifies without the server that made it:

    portcullis audit verify THIS.zip --key log.pub

Use the log's public key that you keep yourself, or had from somebody you trust. The log.pub in this
archive is for comparison only: whoever could change the rest could change it too.

What is verified:

1. records/N.json is record N, byte for byte as it was hashed: proofs/N.tlog-proof leads from it to the
   root of the signed checkpoint (RFC 6962; https://c2sp.org/tlog-proof, https://c2sp.org/tlog-checkpoint).
2. manifest names the SHA-256 of every other file, and the last record, of the type evidence_given, the
   SHA-256 of manifest as its detail.
3. evidence.json says the same as the records. bundles/ holds the sources of the bundles that decided; the
   records name their digests.
4. contents/N.json is what was kept of the request in record N, with a salt: the `commitment` in the record
   is SHA-256 over the bytes `portcullis content 1` and zero, then the salt and the content, each behind its
   length as eight bytes, big endian. Where content was erased, another record says by whom, when and why.

What this does not prove: that nothing else is on record. For that, verify the log itself, and compare
the checkpoint of this archive with it.
";

/// The name of a record's file.
pub fn record(seq: u64) -> String {
    format!("records/{seq:012}.json")
}

/// The name of a proof's file.
pub fn proof(seq: u64) -> String {
    format!("proofs/{seq:012}.tlog-proof")
}

/// The name of a bundle's file.
pub fn bundle(digest: &str) -> String {
    format!("bundles/{}.json", digest.replace(':', "-"))
}

/// The name of a file with what was kept of a request.
pub fn kept(seq: u64) -> String {
    format!("contents/{seq:012}.json")
}

/// All that is in a pack before it is proved.
pub fn content(evidence: &Evidence, keys: &[String]) -> Files {
    let body = EvidenceBody::of(evidence);
    let mut files = Files::new();
    let lines =
        |lines: &[String]| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    files.insert(KEYS.to_owned(), lines(keys).into_bytes());
    files.insert("README.txt".to_owned(), README.into());
    files.insert("evidence.html".to_owned(), html::page(&body).into_bytes());
    files.insert(JSON.to_owned(), body.text());
    for line in &evidence.records {
        files.insert(record(line.seq), line.json.clone().into_bytes());
    }
    for (digest, source) in &evidence.bundles {
        files.insert(bundle(digest), source.to_string().into_bytes());
    }
    for (seq, opening) in &evidence.contents {
        files.insert(kept(*seq), serde_json::to_vec(opening).unwrap_or_default());
    }
    files
}

/// Adds the manifest of what is there; returns its digest.
pub fn manifest(files: &mut Files) -> String {
    let text = manifest_of(files.iter());
    let digest = digest(text.as_bytes());
    files.insert(MANIFEST.to_owned(), text.into_bytes());
    digest
}

/// One line for each file: its digest and its name.
pub fn manifest_of<'a>(files: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> String {
    files.fold(String::new(), |mut text, (name, bytes)| {
        let _infallible = writeln!(text, "{}  {name}", hex(&Sha256::digest(bytes)));
        text
    })
}

/// The digest of a manifest, as the last record has it.
pub fn digest(manifest: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(manifest)))
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Adds the proofs, and packs it all.
pub fn archive(mut files: Files, proven: &EvidenceProof) -> Result<Vec<u8>, ZipError> {
    files.insert(record(proven.given.seq), proven.given.json.clone().into_bytes());
    for (seq, text) in &proven.proofs {
        if let Some((_, checkpoint)) = text.split_once("\n\n") {
            files.insert(CHECKPOINT.to_owned(), checkpoint.into());
        }
        files.insert(proof(*seq), text.clone().into_bytes());
    }
    zipped(files)
}

pub(super) fn zipped(files: Files) -> Result<Vec<u8>, ZipError> {
    // Without compression: whoever has no tool at hand can still read it, and it is packed elsewhere.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name, options)?;
        zip.write_all(&bytes).map_err(ZipError::Io)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Takes a pack apart. What comes out is proved afterwards; whatever else takes it apart finds the same.
pub fn read(bytes: &[u8]) -> Result<Files, String> {
    shape::check(bytes)
        .map_err(|what| format!("it is no evidence pack as one was given: {what}"))?;
    let wrong = |error: &dyn std::fmt::Display| format!("it is no evidence pack: {error}");
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| wrong(&error))?;
    let mut files = Files::new();
    let mut left = MOST_BYTES;
    for index in 0..zip.len() {
        let file = zip.by_index(index).map_err(|error| wrong(&error))?;
        let name = file.name().map_err(|error| wrong(&error))?.into_owned();
        let mut content = Vec::new();
        file.take(left + 1).read_to_end(&mut content).map_err(|error| wrong(&error))?;
        left = left
            .checked_sub(content.len() as u64)
            .ok_or_else(|| format!("it holds more than {MOST_BYTES} bytes"))?;
        if files.insert(name.clone(), content).is_some() {
            return Err(format!("`{name}` is in it twice"));
        }
    }
    Ok(files)
}
