//! curl's options, as far as they may stand beside a token: each that is here is understood, and
//! any other is refused. A new curl may have an option that sends requests elsewhere; it is not here.

/// Short options that take no value: each is a letter.
const SHORT: &str = "#01234aBfgGiIjJkLMnNOqRsSvZ";
/// Short options that take one, and their long names.
const SHORT_WITH_VALUE: [(char, &str); 20] = [
    ('A', "--user-agent"),
    ('b', "--cookie"),
    ('c', "--cookie-jar"),
    ('C', "--continue-at"),
    ('d', "--data"),
    ('D', "--dump-header"),
    ('e', "--referer"),
    ('E', "--cert"),
    ('F', "--form"),
    ('H', "--header"),
    ('m', "--max-time"),
    ('o', "--output"),
    ('r', "--range"),
    ('T', "--upload-file"),
    ('u', "--user"),
    ('w', "--write-out"),
    ('X', "--request"),
    ('y', "--speed-time"),
    ('Y', "--speed-limit"),
    ('z', "--time-cond"),
];
/// Long options that take no value; `--no-` may stand before the name.
const LONG: &str = "--anyauth --append --basic --buffer --compressed --create-dirs --digest \
    --disable --fail --fail-early --fail-with-body --form-escape --get --globoff --head --http0.9 \
    --http1.0 --http1.1 --http2 --http2-prior-knowledge --http3 --ignore-content-length --include \
    --insecure --ipv4 --ipv6 --junk-session-cookies --keepalive --list-only --location --manual \
    --negotiate --netrc --netrc-optional --ntlm --parallel --parallel-immediate --path-as-is \
    --post301 --post302 --post303 --progress-bar --progress-meter --raw --remote-header-name \
    --remote-name --remote-name-all --remote-time --remove-on-error --retry-all-errors \
    --retry-connrefused --sessionid --show-error --silent --ssl-reqd --styled-output \
    --tcp-fastopen --tcp-nodelay --tlsv1 --tlsv1.2 --tlsv1.3 --tr-encoding --verbose";
/// Long options that take one and have no letter.
const LONG_WITH_VALUE: &str = "--cacert --capath --cert-type --ciphers --connect-timeout \
    --create-file-mode --data-ascii --data-binary --data-raw --data-urlencode --etag-compare \
    --etag-save --expect100-timeout --form-string --happy-eyeballs-timeout-ms --json \
    --keepalive-time --key --key-type --limit-rate --max-filesize --max-redirs --netrc-file \
    --oauth2-bearer --output-dir --parallel-max --pass --proto --proto-redir --rate \
    --request-target --retry --retry-delay --retry-max-time --stderr --tls-max --tls13-ciphers \
    --url --url-query";
/// Why some that people know are not here.
const REFUSED: [(&str, &str); 14] = [
    ("-K", WRITTEN_OUT),
    ("--config", WRITTEN_OUT),
    ("-:", ONE_REQUEST),
    ("--next", ONE_REQUEST),
    ("--location-trusted", "it would send the token to whatever host it is redirected to"),
    ("--connect-to", USE_GATE),
    ("--resolve", USE_GATE),
    ("--unix-socket", USE_GATE),
    ("-x", NO_PROXY),
    ("--proxy", NO_PROXY),
    ("--preproxy", NO_PROXY),
    ("--socks5", NO_PROXY),
    ("--socks5-hostname", NO_PROXY),
    ("--libcurl", "it would write the token to a file"),
];
const WRITTEN_OUT: &str = "the token gets to curl as configuration; write your options out";
const ONE_REQUEST: &str = "the token is for one request; run it twice";
const USE_GATE: &str = "put `--gate URL` before curl's own arguments";
const NO_PROXY: &str = "the token goes to the gate and to nobody on the way";

/// One argument: the long names of the options in it, `-L` for those that have none here; and where
/// the value of the last one is.
#[derive(Debug)]
pub(super) struct Opt<'a> {
    pub(super) names: Vec<&'a str>,
    pub(super) value: Value<'a>,
}

/// Where an option's value is.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// It has none.
    None,
    /// In the same argument.
    Here(&'a str),
    /// In the next one.
    Next,
}

impl<'a> Opt<'a> {
    /// Reads an argument that begins with a hyphen.
    pub(super) fn read(argument: &'a str) -> Result<Self, String> {
        if argument.starts_with("--") { Self::long(argument) } else { Self::short(argument) }
    }

    fn long(argument: &'a str) -> Result<Self, String> {
        let named = |list: &str, name: &str| list.split_whitespace().any(|known| known == name);
        let takes = named(LONG_WITH_VALUE, argument)
            || SHORT_WITH_VALUE.iter().any(|(_, name)| *name == argument);
        if takes {
            return Ok(Self { names: vec![argument], value: Value::Next });
        }
        let positive = argument.strip_prefix("--no-").map(|name| format!("--{name}"));
        if named(LONG, positive.as_deref().unwrap_or(argument)) {
            return Ok(Self { names: vec![argument], value: Value::None });
        }
        Err(refused(argument))
    }

    fn short(argument: &'a str) -> Result<Self, String> {
        let letters = argument.strip_prefix('-').unwrap_or_default();
        let mut names = Vec::new();
        for (at, letter) in letters.char_indices() {
            if let Some((_, name)) = SHORT_WITH_VALUE.iter().find(|(known, _)| *known == letter) {
                names.push(*name);
                let value = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                return Ok(Self { names, value: value.map_or(Value::Next, Value::Here) });
            }
            if !SHORT.contains(letter) {
                return Err(refused(&format!("-{letter}")));
            }
            names.push(match letter {
                'L' => "--location",
                'n' => "--netrc",
                _ => "",
            });
        }
        if names.is_empty() {
            return Err("`-` is neither an option nor an address".to_owned());
        }
        Ok(Self { names, value: Value::None })
    }
}

fn refused(name: &str) -> String {
    let why = REFUSED.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
    let why = why.unwrap_or(
        "it is not known to be safe beside a token; `portcullis token SERVICE` prints one for other tools",
    );
    format!("`{name}` does not go together with portcullis curl: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        for option in [
            "-K",
            "-sKx",
            "--config",
            "--conf",
            "--next",
            "-:",
            "--location-trusted",
            "--connect-to",
            "-x",
            "--proxy",
            "--resolve",
            "--unix-socket",
            "--expand-url",
            "--variable",
            "--url=http://x",
            "--proto-default",
            "--doh-url",
            "-",
            "-é",
        ] {
            assert!(Opt::read(option).is_err(), "{option}");
        }
    }

    #[test]
    fn values_are_found_where_curl_finds_them() {
        let read = |argument| Opt::read(argument).unwrap();
        assert!(matches!(read("-sSd").value, Value::Next));
        assert!(matches!(read("-XPOST").value, Value::Here("POST")));
        assert!(matches!(read("--data").value, Value::Next));
        assert!(matches!(read("--no-buffer").value, Value::None));
        assert_eq!(read("-sLHx").names, ["", "--location", "--header"]);
    }
}
