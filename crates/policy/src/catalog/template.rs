//! Path templates: `/refunds/{id}`, as segments.
//!
//! A template is compared with the canonical path that is also forwarded, segment by segment, as
//! data: nothing of a template is ever a pattern.

use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a path may not carry raw (RFC 3986, 3.3), so that a template written with it still equals
/// the path on the wire.
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'^').add(b'|').add(b'\\');

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this text.
    Literal(Box<str>),
    /// Any one non-empty segment.
    Param(Arc<str>),
}

/// A path template. `/` is one empty literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
}

impl Template {
    /// Reads `prefix` followed by `text`; the error says what is wrong with it.
    pub(super) fn parse(prefix: &str, text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("path `{text}` does not begin with `/`"));
        };
        if text.contains(['?', '#']) {
            return Err(format!("path `{text}` has a query or a fragment"));
        }
        let mut segments = Vec::new();
        for part in prefix.split('/').skip(1).filter(|part| !part.is_empty()) {
            segments.push(Segment::Literal(canonical(part)));
        }
        let parts: Vec<&str> = rest.split('/').collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            segments.push(segment(part, last).map_err(|what| format!("path `{text}`: {what}"))?);
        }
        let template = Self { segments };
        template.repeated().map_or(Ok(()), |name| {
            Err(format!("path `{text}` has the parameter `{{{name}}}` twice"))
        })?;
        Ok(template)
    }

    /// Its segments.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its parameters, with the index of their segment.
    pub(super) fn params(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.segments.iter().enumerate().filter_map(|(index, segment)| match segment {
            Segment::Param(name) => Some((index, name)),
            Segment::Literal(_) => None,
        })
    }

    /// Whether it begins with all segments of `prefix` (`/a/b`, or empty).
    pub(super) fn lies_under(&self, prefix: &str) -> bool {
        let mut own = self.segments.iter();
        prefix
            .split('/')
            .skip(1)
            .all(|part| matches!(own.next(), Some(Segment::Literal(text)) if **text == *part))
    }

    fn repeated(&self) -> Option<&Arc<str>> {
        self.params()
            .find(|(index, name)| {
                self.params().any(|(other, same)| other < *index && same == *name)
            })
            .map(|(_, name)| name)
    }
}

fn canonical(text: &str) -> Box<str> {
    utf8_percent_encode(text, NOT_IN_PATHS).to_string().into()
}

fn segment(part: &str, last: bool) -> Result<Segment, String> {
    if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        if name.is_empty() || name.contains(['{', '}']) {
            return Err(format!("`{part}` is no parameter"));
        }
        return Ok(Segment::Param(name.into()));
    }
    if part.contains(['{', '}']) {
        return Err(format!(
            "`{part}` is only in part a parameter; a parameter is a whole segment"
        ));
    }
    if matches!(part, "." | "..") || (part.is_empty() && !last) {
        return Err("empty and dot segments never arrive".to_owned());
    }
    Ok(Segment::Literal(canonical(part)))
}

/// Checks a prefix and writes it without a trailing slash: `/` becomes the empty text.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let template = Template::parse("", trimmed)?;
    let literal = |segment: &Segment| match segment {
        Segment::Literal(text) if !text.is_empty() => Some(format!("/{text}")),
        Segment::Literal(_) | Segment::Param(_) => None,
    };
    let parts: Option<Vec<String>> = template.segments().iter().map(literal).collect();
    parts.map(|parts| parts.concat()).ok_or_else(|| format!("`{text}` is no path prefix"))
}

/// The rest of `path` after `prefix`, segment-wise: `/admin` never leads `/administrator`.
pub(super) fn leads(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
