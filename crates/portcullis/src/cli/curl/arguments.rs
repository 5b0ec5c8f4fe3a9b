//! What of curl's arguments matters here: where the request goes, and what would carry the token
//! to anywhere else.

use portcullis_api::services::ServicesBody;
use url::Url;

/// Short options that take a value, in the same argument or the next.
const SHORT_WITH_VALUE: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";
/// Long options whose value may look like the address of the request and is none.
const VALUE_LIKE_ADDRESS: [&str; 18] = [
    "--referer",
    "--proxy",
    "--preproxy",
    "--data",
    "--data-raw",
    "--data-ascii",
    "--data-binary",
    "--data-urlencode",
    "--json",
    "--header",
    "--proxy-header",
    "--user-agent",
    "--form",
    "--form-string",
    "--url-query",
    "--cookie",
    "--write-out",
    "--doh-url",
];
/// Options that say who asks, towards the service behind the gate.
const SAYS_WHO: [&str; 11] = [
    "-u",
    "-n",
    "--user",
    "--oauth2-bearer",
    "--netrc",
    "--netrc-optional",
    "--netrc-file",
    "--digest",
    "--ntlm",
    "--negotiate",
    "--basic",
];
/// Options that could take the token elsewhere, or that this command needs for itself.
const REFUSED: [(&str, &str); 6] = [
    ("-K", "the token gets to curl as configuration; write your options out"),
    ("--config", "the token gets to curl as configuration; write your options out"),
    ("-:", "the token is for one request; run it twice"),
    ("--next", "the token is for one request; run it twice"),
    ("--location-trusted", "it would send the token to whatever host it is redirected to"),
    ("--connect-to", "use --gate before curl's own arguments"),
];

/// Where a request goes, and how the token may ride along.
#[derive(Debug)]
pub(super) struct Wanted {
    hosts: Vec<String>,
    authorization_taken: bool,
}

impl Wanted {
    /// Reads curl's arguments as far as they matter; refuses what could leak the token.
    pub(super) fn read(arguments: &[String]) -> Result<Self, String> {
        let mut wanted = Self { hosts: Vec::new(), authorization_taken: false };
        let mut follows = false;
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            let option = Opt::read(argument);
            refuse(argument, &option)?;
            let value = match option.value {
                Value::None => None,
                Value::Here(value) => Some(value),
                Value::Next => rest.next(),
            };
            if let Some(value) = value {
                wanted.value(option.names.last().copied().unwrap_or_default(), value)?;
            }
            wanted.authorization_taken |= option.names.iter().any(|name| says_who(name, value));
            follows |= option.names.iter().any(|name| matches!(*name, "-L" | "--location"));
        }
        wanted.check(follows)
    }

    /// The header that the token goes into. `Authorization` where it is free: curl does not send that
    /// one on when it follows a redirect to another host.
    pub(super) fn header(&self) -> &'static str {
        if self.authorization_taken { "Portcullis-Authorization" } else { "Authorization" }
    }

    /// The one service that all addresses belong to.
    pub(super) fn service<'s>(&self, services: &'s ServicesBody) -> Result<&'s str, String> {
        let mut found: Option<&str> = None;
        for host in &self.hosts {
            let service = services
                .services
                .iter()
                .find(|service| service.hosts.iter().any(|known| is_host_of(known, host)));
            let name = service.map(|service| service.name.as_str()).ok_or_else(|| {
                format!(
                    "no service of yours has the host `{host}`; `portcullis services` lists them"
                )
            })?;
            if found.is_some_and(|earlier| earlier != name) {
                return Err("the addresses belong to several services; run it once for each".into());
            }
            found = Some(name);
        }
        found.ok_or_else(|| "there is no address among curl's arguments".to_owned())
    }

    fn value(&mut self, name: &str, value: &str) -> Result<(), String> {
        let standard_input = value == "@-" || value.ends_with("=@-");
        let upload = matches!(name, "-T" | "--upload-file") && matches!(value, "-" | ".");
        if standard_input || upload {
            return Err("curl's standard input carries the token; put the data into a file".into());
        }
        if name.is_empty() || name == "--url" {
            self.address(value)?;
        }
        Ok(())
    }

    fn address(&mut self, text: &str) -> Result<(), String> {
        let lower = text.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            // The value of an option that is not known here; or an address that curl would guess
            // the scheme of, and then none may be found at all.
            return Ok(());
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}`: {error}"))?;
        // Braces and brackets make curl visit several hosts.
        let host = url.host_str().filter(|host| !host.contains(['{', '}', '*']));
        let host = host.ok_or_else(|| format!("`{text}` names no one host"))?;
        self.hosts.push(host.to_owned());
        Ok(())
    }

    fn check(self, follows: bool) -> Result<Self, String> {
        if self.hosts.is_empty() {
            return Err(
                "give the address with its scheme, like http://payments.example.com/".into()
            );
        }
        if follows && self.authorization_taken {
            let message = "following redirects with credentials of your own would send the gate's \
                           token to other hosts; leave out -L, or the credentials";
            return Err(message.to_owned());
        }
        Ok(self)
    }
}

/// One argument: the options in it, and where the value of the last one is.
struct Opt<'a> {
    names: Vec<&'a str>,
    value: Value<'a>,
}

enum Value<'a> {
    None,
    Here(&'a str),
    Next,
}

impl<'a> Opt<'a> {
    fn read(argument: &'a str) -> Self {
        if argument.starts_with("--") {
            let takes = VALUE_LIKE_ADDRESS.contains(&argument)
                || matches!(argument, "--url" | "--upload-file" | "--user" | "--oauth2-bearer");
            let value = if takes { Value::Next } else { Value::None };
            return Self { names: vec![argument], value };
        }
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Self { names: vec![""], value: Value::Here(argument) };
        };
        let mut names = Vec::new();
        for (at, letter) in letters.char_indices() {
            names.push(short(letter));
            if SHORT_WITH_VALUE.contains(letter) {
                let value = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                return Self { names, value: value.map_or(Value::Next, Value::Here) };
            }
        }
        Self { names, value: Value::None }
    }
}

/// Those short options that anything here asks for.
fn short(letter: char) -> &'static str {
    match letter {
        'K' => "-K",
        ':' => "-:",
        'u' => "-u",
        'n' => "-n",
        'L' => "-L",
        'T' => "-T",
        'H' => "-H",
        _ => "-",
    }
}

fn refuse(argument: &str, option: &Opt<'_>) -> Result<(), String> {
    for (refused, why) in REFUSED {
        // curl takes the beginning of a long option for the option.
        let abbreviated = argument.len() > 5
            && argument.starts_with("--")
            && argument != "--location"
            && refused.starts_with(argument);
        if abbreviated || option.names.contains(&refused) {
            return Err(format!("`{refused}` does not go together with portcullis curl: {why}"));
        }
    }
    Ok(())
}

fn says_who(name: &str, value: Option<&str>) -> bool {
    let header = matches!(name, "-H" | "--header")
        && value.is_some_and(|value| value.to_ascii_lowercase().starts_with("authorization"));
    header || SAYS_WHO.contains(&name)
}

/// A service's host, or one addressed instance of it: `payments--p-2.example.com`.
fn is_host_of(known: &str, host: &str) -> bool {
    let (label, domain) = host.split_once('.').unwrap_or((host, ""));
    let service = label.split_once("--").map_or(label, |(service, _)| service);
    let addressed =
        if domain.is_empty() { service.to_owned() } else { format!("{service}.{domain}") };
    known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(&addressed)
}

#[cfg(test)]
mod tests {
    use portcullis_api::services::ServiceBody;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Wanted, String> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Wanted::read(&arguments)
    }

    fn service_of(arguments: &[&str]) -> Result<String, String> {
        let service = |name: &str, host: &str| ServiceBody {
            name: name.to_owned(),
            hosts: vec![host.to_owned()],
            instances: Vec::new(),
            operations: Vec::new(),
        };
        let services = vec![service("payments", "payments.test"), service("ledger", "ledger.test")];
        read(arguments)?.service(&ServicesBody { services }).map(str::to_owned)
    }

    #[test]
    fn the_service_is_found_by_the_host_of_the_address() {
        assert_eq!(service_of(&["-sS", "http://payments.test:8080/x"]).unwrap(), "payments");
        assert_eq!(service_of(&["http://payments--p-2.test/x"]).unwrap(), "payments");
        assert_eq!(service_of(&["--url", "https://LEDGER.test/"]).unwrap(), "ledger");
        assert_eq!(
            service_of(&["-XPOST", "-d", "http://x.test", "http://payments.test/"]).unwrap(),
            "payments"
        );
    }

    #[test]
    fn no_token_is_made_for_a_host_that_is_no_services() {
        for arguments in [
            &["http://evil.test/"][..],
            &["http://payments.test@evil.test/"],
            &["http://payments.test.evil.test/"],
            &["http://payments.test/", "http://evil.test/"],
            &["http://payments.test/", "http://ledger.test/"],
            &["http://{payments.test,evil.test}/"],
            &["payments.test"],
            &["-d", "http://payments.test/"],
        ] {
            assert!(service_of(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn what_could_carry_the_token_elsewhere_is_refused() {
        let address = "http://payments.test/";
        for option in
            ["-Kx", "-sKx", "--config", "--conf", "--next", "--location-trusted", "--connect-to"]
        {
            assert!(read(&[option, address]).is_err(), "{option}");
        }
        assert!(read(&["-L", "-u", "a:b", address]).is_err());
        assert!(read(&["-LHAuthorization: Basic x", address]).is_err());
        assert!(read(&["-L", address]).is_ok() && read(&["--location", address]).is_ok());
    }

    #[test]
    fn data_from_standard_input_is_refused_and_said() {
        let address = "http://payments.test/";
        for data in [&["-d", "@-"][..], &["-d@-"], &["--json", "@-"], &["-T", "-"], &["-F", "f=@-"]]
        {
            let arguments = [data, &[address]].concat();
            assert!(read(&arguments).unwrap_err().contains("standard input"), "{data:?}");
        }
    }
}
