//! Filters: one attribute, `eq`, one text (RFC 7644, 3.4.2.2). Nothing else is pretended.

use super::{Answer, bad};

/// `attribute eq "value"`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The attribute in lower case, without the schema's name.
    pub(super) attribute: String,
    pub(super) value: String,
}

impl Filter {
    pub(super) fn read(text: &str) -> Answer<Self> {
        let wrong = || {
            let detail = format!("`{text}` is not supported; write it like userName eq \"ana\"");
            bad("invalidFilter", detail)
        };
        let (attribute, rest) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (operator, value) = rest.trim_start().split_once(' ').ok_or_else(wrong)?;
        if !operator.eq_ignore_ascii_case("eq") {
            return Err(wrong());
        }
        let value: String = serde_json::from_str(value.trim()).map_err(|_| wrong())?;
        let attribute = attribute.rsplit(':').next().unwrap_or(attribute).to_ascii_lowercase();
        Ok(Self { attribute, value })
    }

    pub(super) fn unknown<T>(&self) -> Answer<T> {
        Err(bad("invalidFilter", format!("`{}` cannot be filtered by", self.attribute)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comparison_is_read_and_nothing_else_is_guessed() {
        let read = |text| Filter::read(text).ok().map(|filter| (filter.attribute, filter.value));
        let user = |value: &str| Some(("username".to_owned(), value.to_owned()));
        assert_eq!(read(r#"userName eq "ana""#), user("ana"));
        assert_eq!(read(r#" USERNAME  EQ  "a \"b\" eq c" "#), user(r#"a "b" eq c"#));
        let long = r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "ana""#;
        assert_eq!(read(long), user("ana"));
        for bad in [
            "",
            "userName",
            "userName eq",
            "userName eq ana",
            r#"userName co "a""#,
            r#"userName eq "a" or active eq "true""#,
            r#"not (userName eq "a")"#,
            r#"userName eq "a" "b""#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
