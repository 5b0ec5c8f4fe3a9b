//! Content types, and what they say about how a body is written.

/// Names and values as a query has them.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Names and values in parts.
pub(super) const PARTS: &str = "multipart/form-data";

/// A content type without its parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    bare(content_type).to_ascii_lowercase()
}

/// A content type without its parameters, as it is written.
pub(super) fn bare(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a content type is JSON: RFC 8259, and the suffix of RFC 6839.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = bare(content_type);
    let suffixed = essence.len() > 5
        && essence.get(essence.len() - 5..).is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    suffixed || essence.eq_ignore_ascii_case("application/json")
}

/// The name of a header, in lower case, as services may fold it.
pub(super) fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).collect()
}
