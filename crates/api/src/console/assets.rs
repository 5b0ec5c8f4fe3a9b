//! The console's own files: styles, scripts, a picture. Each has an address with its digest in it, so that it is
//! kept for a year and a new one is fetched at once.

use std::{io::Write as _, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use crate::{error::ApiError, parts::Shared};

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal, $kind:expr, $file:literal;)*) => {
        [$(($name, $kind, include_bytes!(concat!("../../assets/", $file)).as_slice())),*]
    };
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    files! {
        "console.css", STYLE, "console.css";
        "console.js", SCRIPT, "console.js";
        "passkey.js", SCRIPT, "passkey.js";
        "waiting.js", SCRIPT, "waiting.js";
        "htmx.js", SCRIPT, "vendor/htmx-4.0.1.min.js";
        "hx-sse.js", SCRIPT, "vendor/hx-sse-4.0.1.min.js";
        "portcullis.svg", "image/svg+xml", "portcullis.svg";
    }
    .into_iter()
    .map(|(name, kind, bytes)| File::new(name, kind, bytes))
    .collect()
});

#[derive(Debug)]
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    compressed: Vec<u8>,
    digest: String,
    address: String,
}

impl File {
    fn new(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let mut digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        digest.truncate(16);
        let address = format!("/assets/{digest}/{name}");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory; what fails is sent as it is.
        let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        Self { name, kind, bytes, compressed: compressed.unwrap_or_default(), digest, address }
    }
}

/// Where the file called `name` is.
pub(super) fn address(name: &str) -> &'static str {
    FILES.iter().find(|file| file.name == name).map_or("", |file| &file.address)
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/assets/{digest}/{name}", get(file)).route("/favicon.ico", get(icon))
}

async fn icon(headers: HeaderMap) -> Result<Response, ApiError> {
    let file = FILES.iter().find(|file| file.name == "portcullis.svg");
    file.map(|file| sent(file, &headers)).ok_or(ApiError::NoSuchPath)
}

async fn file(
    Path((digest, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let file = FILES.iter().find(|file| file.name == name && file.digest == digest);
    file.map(|file| sent(file, &headers)).ok_or(ApiError::NoSuchPath)
}

fn sent(file: &'static File, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let gzip = accepted.is_some_and(|accepted| {
        accepted.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
    });
    let gzip = gzip && !file.compressed.is_empty();
    let bytes = if gzip { file.compressed.as_slice() } else { file.bytes };
    let mut response = (StatusCode::OK, bytes).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    fields.insert(header::CACHE_CONTROL, kept);
    fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_those_that_were_looked_at() {
        let list = include_str!("../../assets/vendor/README.md");
        let hex = |bytes: &[u8]| {
            Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
        };
        for name in ["htmx.js", "hx-sse.js"] {
            let file = FILES.iter().find(|file| file.name == name).unwrap();
            assert!(list.contains(&hex(file.bytes)), "{name} is not in vendor/README.md");
        }
    }

    #[test]
    fn all_of_it_is_under_a_quarter_of_a_megabyte_compressed() {
        let sum: usize = FILES.iter().map(|file| file.compressed.len()).sum();
        assert!((1..250 * 1024).contains(&sum), "{sum}");
    }
}
