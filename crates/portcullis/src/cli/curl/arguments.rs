//! What of curl's arguments matters here: where the request goes, and what would carry the token
//! to anywhere else. Every argument is understood or refused: one that is taken for a value and is an
//! address would take the token along.

use portcullis_api::services::ServicesBody;

use super::options::{Opt, Value};

/// Options that say who asks, towards the service behind the gate.
const SAYS_WHO: [&str; 10] = [
    "--user",
    "--oauth2-bearer",
    "--netrc",
    "--netrc-optional",
    "--netrc-file",
    "--digest",
    "--ntlm",
    "--negotiate",
    "--basic",
    "--anyauth",
];

/// Where a request goes, and how the token may ride along.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    hosts: Vec<String>,
    authorization_taken: bool,
    follows: bool,
    says_status: bool,
    again: Again,
}

/// Whether a request may be remembered and sent again as it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Again {
    #[default]
    Fine,
    /// It has credentials, or reads what can be read once.
    OnlyOnce,
}

impl Wanted {
    /// Reads curl's arguments; refuses what is not understood or could leak the token.
    pub(super) fn read(arguments: &[String]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut only_addresses = false;
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            if only_addresses || !argument.starts_with('-') {
                wanted.address(argument)?;
            } else if argument == "--" {
                only_addresses = true;
            } else {
                let option = Opt::read(argument)?;
                let value = match option.value {
                    Value::None => None,
                    Value::Here(value) => Some(value),
                    Value::Next => {
                        Some(rest.next().ok_or_else(|| format!("`{argument}` needs a value"))?)
                    }
                };
                wanted.option(&option.names, value)?;
            }
        }
        wanted.check()
    }

    /// The header that the token goes into. `Authorization` where it is free: curl does not send that
    /// one on when it follows a redirect to another host.
    pub(super) fn header(&self) -> &'static str {
        if self.authorization_taken { "Portcullis-Authorization" } else { "Authorization" }
    }

    /// Whether it may be remembered and sent again as it is.
    pub(super) fn repeatable(&self) -> bool {
        self.again == Again::Fine && !self.authorization_taken
    }

    /// Whether curl was told what to write below the answer, or where.
    pub(super) fn says_status(&self) -> bool {
        self.says_status
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

    fn option(&mut self, names: &[&str], value: Option<&str>) -> Result<(), String> {
        let last = names.last().copied().unwrap_or_default();
        if let Some(value) = value {
            let standard_input = value == "@-" || value.ends_with("=@-");
            let upload = last == "--upload-file" && matches!(value, "-" | ".");
            if standard_input || upload {
                return Err(
                    "curl's standard input carries the token; put the data into a file".to_owned()
                );
            }
            if last == "--url" {
                self.address(value)?;
            }
        }
        self.authorization_taken |= names.iter().any(|name| says_who(name, value));
        self.follows |= names.contains(&"--location");
        self.says_status |= ["--write-out", "--stderr"].contains(&last);
        if value.is_some_and(|value| is_secret(last, value) || is_once(value)) {
            self.again = Again::OnlyOnce;
        }
        Ok(())
    }

    /// An address as curl and everybody else reads it alike: a scheme, a name, perhaps a port. Braces
    /// and brackets make curl visit several hosts, and parsers disagree about `@` and `\`.
    fn address(&mut self, text: &str) -> Result<(), String> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "`{text}` is no address with its scheme, like http://payments.example.com/"
            ));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) || port.parse::<u16>().is_err() {
            return Err(format!(
                "`{text}` does not name one host and nothing else before its path"
            ));
        }
        self.hosts.push(host.to_owned());
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        if self.hosts.is_empty() {
            return Err("there is no address; give it like http://payments.example.com/".into());
        }
        if self.follows && self.authorization_taken {
            let message = "following redirects with credentials of your own would send the gate's \
                           token to other hosts; leave out -L, or the credentials";
            return Err(message.to_owned());
        }
        Ok(self)
    }
}

fn says_who(name: &str, value: Option<&str>) -> bool {
    let header = name == "--header"
        && value.is_some_and(|value| value.to_ascii_lowercase().starts_with("authorization"));
    header || SAYS_WHO.contains(&name)
}

/// Whether `value` may be a credential: it must not rest in a file.
fn is_secret(option: &str, value: &str) -> bool {
    match option {
        "--header" => {
            let name = value.split_once(':').map_or(value, |(name, _)| name).to_ascii_lowercase();
            ["auth", "cookie", "key", "secret", "token"].iter().any(|part| name.contains(part))
        }
        "--cookie" => value.contains('='),
        "--pass" | "--cert" => true,
        _ => false,
    }
}

/// What a shell's `<(…)` gives, and standard input by another name: gone once they were read.
fn is_once(value: &str) -> bool {
    ["/dev/fd/", "/dev/stdin", "/proc/"].iter().any(|part| value.contains(part))
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
            health: None,
            name: name.to_owned(),
            hosts: vec![host.to_owned()],
            instances: Vec::new(),
            operations: Vec::new(),
            sensitive: Vec::new(),
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
            &["http://payments.test/", "evil.test"],
            &["evil.test", "http://payments.test/"],
            &["http://payments.test/", "--", "-evil.test"],
            &["http://payments.test/", "--url", "evil.test"],
            &["http://payments.test\\@evil.test/"],
            &["http://payments.test{,.evil.test}/"],
            &["http://payments.test:80@evil.test/"],
            &["http://[::1]/"],
            &["ftp://payments.test/"],
            &["//payments.test/"],
            &["http://payments.test/", "--header"],
            &["-d", "http://payments.test/"],
        ] {
            assert!(service_of(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn what_could_carry_the_token_elsewhere_is_refused() {
        let address = "http://payments.test/";
        for option in ["-Kx", "--conf", "--next", "-x", "--no-such-option"] {
            assert!(read(&[option, address]).is_err(), "{option}");
        }
        assert!(read(&["-L", "-u", "a:b", address]).is_err());
        assert!(read(&["-LHAuthorization: Basic x", address]).is_err());
        assert!(read(&["-L", address]).is_ok() && read(&["--location", address]).is_ok());
    }

    #[test]
    fn credentials_and_what_is_read_once_are_not_remembered() {
        let address = "http://payments.test/";
        for plain in [&["-d", "{}"][..], &["-HX-Reason: x", "-b", "jar"], &["-T", "key.pem"], &[]] {
            assert!(read(&[plain, &[address]].concat()).unwrap().repeatable(), "{plain:?}");
        }
        for once in [
            &["-u", "a:b"][..],
            &["-HAuthorization: Basic x"],
            &["-H", "X-Api-Key: x"],
            &["-sHCookie: a=b"],
            &["-b", "a=b"],
            &["--pass", "x"],
            &["-d", "@/dev/fd/63"],
            &["-F", "f=@/dev/stdin"],
            &["--data-binary", "@/proc/self/fd/0"],
        ] {
            assert!(!read(&[once, &[address]].concat()).unwrap().repeatable(), "{once:?}");
        }
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
