//! Secrets, tokens and cookies appear in no log, event, metric or error: every house of the suite is
//! searched for all that the suite has handed out or seen, when it is pulled down.
//!
//! The wire notes what clients present and what servers give them; what goes other ways says
//! [`handed_out`]. A part of a secret that nobody could have guessed is looked for, so that one that
//! was cut or quoted is found too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use aho_corasick::AhoCorasick;

use crate::{house::Plan, wire::Response};

/// Long enough to be of no other text.
const PART: usize = 24;
/// Shorter than any secret that is one: what tests call `x` or `garbage` is in many files.
const SHORTEST: usize = 16;

static PARTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Remembers a secret of any shape.
pub(crate) fn handed_out(secret: &str) {
    if let Some(part) = part(secret) {
        PARTS.lock().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned());
    }
}

/// The part of a secret that gives it away: the signature of a JWT, what follows the prefix of a token
/// of ours, the last signature of a sealed credential that was opened, the value of a cookie.
fn part(secret: &str) -> Option<&str> {
    let secret = secret.trim();
    // Header and claims of a JWT are much like those of every other, and no secret without the rest.
    let random = if secret.starts_with("ey") {
        secret.splitn(3, '.').nth(2)?.rsplit('.').next()?
    } else if secret.starts_with("pc_sealed_") {
        // Its terms, and control's signature, are no secret.
        secret.split('.').nth(3)?
    } else {
        ours(secret).unwrap_or(secret)
    };
    let part = random.get(..random.len().min(PART))?;
    (part.len() >= SHORTEST).then_some(part)
}

/// What follows `pc_sign_`, `pc_device_` and the like.
fn ours(token: &str) -> Option<&str> {
    let (kind, random) = token.strip_prefix("pc_")?.split_once('_')?;
    kind.bytes().all(|byte| byte.is_ascii_lowercase()).then_some(random)
}

/// Remembers the credentials in a request, and returns them.
pub(crate) fn of_request(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let mut found = Vec::new();
    for line in head.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = name.trim().to_ascii_lowercase();
        if name.ends_with("authorization") {
            found.extend(value.split_whitespace().last().map(str::to_owned));
        } else if name == "cookie" {
            let values = value.split(';').filter_map(|cookie| cookie.split_once('='));
            found.extend(values.map(|(_, value)| value.trim().to_owned()));
        }
    }
    found.extend(tokens(&text));
    let parts = found.iter().filter_map(|secret| part(secret)).map(str::to_owned).collect();
    for secret in &found {
        handed_out(secret);
    }
    parts
}

/// Remembers what a server gives: tokens of ours, and cookies.
pub(crate) fn of_response(response: &Response) {
    for token in tokens(&response.text()) {
        handed_out(&token);
    }
    for (name, value) in &response.headers {
        if name.eq_ignore_ascii_case("set-cookie") {
            let pair = value.split(';').next().and_then(|cookie| cookie.split_once('='));
            handed_out(pair.map_or("", |(_, value)| value));
        }
    }
}

/// An answer that says no does not repeat what it said no to.
pub(crate) fn check_refusal(presented: &[String], response: &Response) {
    if response.status < 400 {
        return;
    }
    let headers = response.headers.iter().map(|(_, value)| value.as_str());
    let shown = headers.collect::<String>() + &response.text();
    let repeats = presented.iter().any(|part| shown.contains(part.as_str()));
    assert!(!repeats, "an answer with status {} repeats a credential", response.status);
}

/// Every token of ours in `text`.
fn tokens(text: &str) -> Vec<String> {
    let end = |rest: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        rest.find(|c| !inside(c)).unwrap_or(rest.len())
    };
    let begins = text.match_indices("pc_").filter_map(|(at, _)| text.get(at..));
    begins.filter_map(|rest| rest.get(..end(rest))).map(str::to_owned).collect()
}

/// What a plan itself hands in is not what the system wrote; secrets among it are remembered.
pub(crate) fn given(files: &[(String, String)]) -> Vec<PathBuf> {
    for (name, text) in files {
        if ["secret", "token", "password"].iter().any(|word| name.contains(word)) {
            handed_out(text);
        }
        if text.contains("PRIVATE KEY") {
            // The first line of a key begins like that of every other.
            let line =
                text.lines().nth(1).and_then(|line| line.get(line.len().checked_sub(PART)?..));
            handed_out(line.unwrap_or_default());
        }
    }
    files.iter().map(|(name, _)| PathBuf::from(name)).collect()
}

/// Where secrets are, of all that is in `written` and in the files of `folder` that the system wrote:
/// names and places, never the secret.
pub(crate) fn leaks(
    folder: &Path,
    given: &[PathBuf],
    written: &[(&'static str, Vec<u8>)],
) -> Vec<String> {
    let parts = PARTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let search = AhoCorasick::new(&parts).expect("the secrets of a suite fit");
    let mut leaks = Vec::new();
    let mut look = |name: &str, bytes: &[u8]| {
        let found = search.find_iter(bytes).take(3);
        leaks.extend(found.map(|found| format!("{name}, byte {}", found.start())));
    };
    for (name, bytes) in written {
        look(name, bytes);
    }
    for file in files(folder) {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        // The profiles of the command line are where its tokens belong.
        let ours = name.starts_with("homes") || name.starts_with("policies");
        if ours || name == Path::new("portcullis.yaml") || given.iter().any(|given| given == name) {
            continue;
        }
        // What is gone by now was not kept.
        look(&name.display().to_string(), &fs::read(&file).unwrap_or_default());
    }
    leaks
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn j07_what_leaks_is_found_wherever_it_is_and_not_shown() {
    let house = Plan::empty().start();
    let token = house.sign_in(&crate::people::Person::new("ana", &["engineering"]));
    let job = house.workload_token("canary", &["strangers"]);
    let cookie = "session=canary-0123456789-cookie-value";
    crate::wire::exchange(
        house.gate,
        format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!(house.api("GET", "/v1/grants", Some(&job), None).status, 200);
    assert_eq!(house.leaks(), [""; 0]);
    let (random, signature) = (ours(&token).unwrap(), job.rsplit_once('.').unwrap().1);
    let secrets = [&token, &token[..40], random, &job, signature, cookie];
    for secret in secrets {
        for place in ["serve.log", "portcullis.db-wal", "audit/journal/x", "audit/log/tile/0/x"] {
            let file = house.dir().join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let before = fs::read(&file).ok();
            let mut bytes = b"before ".to_vec();
            bytes.extend(format!("\"{secret}\" after").into_bytes());
            fs::write(&file, &bytes).unwrap();
            let found = house.leaks();
            match before {
                Some(before) => fs::write(&file, before).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("{place}, byte ")), "{found:?}");
            assert!(!secret.contains(&found[0]) && !found[0].contains(secret));
        }
    }
    let found = leaks(house.dir(), &[], &[("metrics", token.clone().into_bytes())]);
    assert_eq!(found, ["metrics, byte 8"]);
}

#[test]
fn what_gives_a_secret_away_is_its_random_part() {
    assert_eq!(part("pc_sign_0123456789abcdefghijklmnop"), Some("0123456789abcdefghijklmn"));
    assert_eq!(part("eyJh.eyJz.0123456789abcdefghijklmnop"), Some("0123456789abcdefghijklmn"));
    assert_eq!(part("portcullis-secret\n"), Some("portcullis-secret"));
    assert_eq!(part("garbage"), None);
    let opened = "pc_sealed_terms.signature.opening.0123456789abcdefghijklmnop";
    assert_eq!(part(opened), Some("0123456789abcdefghijklmn"));
    assert_eq!(part("pc_sealed_0123456789abcdefghijklmnop"), None, "terms are no secret");
    for nothing in
        ["eyJh.eyJz.", "eyJh.eyJz0123456789abcdefghijklmnop", "eyJh0123456789abcdefghijk"]
    {
        assert_eq!(part(nothing), None, "{nothing}");
    }
    let text = "{\"token\":\"pc_sign_abc-D_e\",\"pc_x\":1}";
    assert_eq!(tokens(text), ["pc_sign_abc-D_e", "pc_x"]);
}
