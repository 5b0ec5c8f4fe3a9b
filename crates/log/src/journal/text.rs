//! Halves of attempts as JSON, written by hand: this runs once or twice for every request.
//!
//! The same bytes as the serde shapes of [`Attempt`] and [`Outcome`] give, which a test holds it to;
//! strings that need no escapes are copied whole, and times share the text of their second.

use std::{io::Write, net::IpAddr};

use jiff::Timestamp;
use portcullis_model::{Attempt, InstanceName, OperationName, Outcome, ServiceName};

/// Writes attempts; keeps the text of the second that it saw last.
#[derive(Debug, Default)]
pub(super) struct Writer {
    second: i64,
    /// `2026-12-15T02:13:07`, empty at first.
    text: String,
}

impl Writer {
    /// Appends `attempt` as a JSON object without its closing brace.
    pub(super) fn attempt(&mut self, out: &mut Vec<u8>, attempt: &Attempt<'_>) {
        out.extend_from_slice(b"{\"request\":\"");
        out.extend_from_slice(&attempt.request.to_text());
        out.extend_from_slice(b"\",\"time\":\"");
        self.time(out, attempt.time);
        out.push(b'"');
        string(out, b",\"type\":", attempt.kind);
        number(out, b",\"class\":", attempt.class);
        if let Some(principal) = attempt.principal {
            string(out, b",\"principal\":{\"type\":", principal.kind.as_str());
            string(out, b",\"id\":", &principal.id);
            out.push(b'}');
        }
        optional(out, b",\"auth_method\":", attempt.auth_method);
        optional(out, b",\"service\":", attempt.service.map(ServiceName::as_str));
        optional(out, b",\"instance\":", attempt.instance.map(InstanceName::as_str));
        optional(out, b",\"operation\":", attempt.operation.map(OperationName::as_str));
        string(out, b",\"decision\":", attempt.decision);
        optional(out, b",\"refusal\":", attempt.refusal);
        let mut start: &[u8] = b",\"policies\":[";
        for policy in attempt.policies {
            string(out, start, policy.as_str());
            start = b",";
        }
        if !attempt.policies.is_empty() {
            out.push(b']');
        }
        if let Some(bundle) = attempt.bundle {
            string(out, b",\"bundle\":{\"digest\":", &bundle.digest.0);
            number(out, b",\"generation\":", bundle.generation);
            out.push(b'}');
        }
        if let Some(grant) = attempt.grant {
            out.extend_from_slice(b",\"grant\":\"");
            out.extend_from_slice(&grant.to_text());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"source\":\"");
        address(out, attempt.source);
        out.push(b'"');
        optional(out, b",\"country\":", attempt.country);
        string(out, b",\"method\":", attempt.method);
        string(out, b",\"host\":", attempt.host);
        string(out, b",\"path\":", attempt.path);
        optional(out, b",\"trace\":", attempt.trace);
        if let Some(content) = attempt.content {
            string(out, b",\"content\":{\"commitment\":", &content.commitment);
            string(out, b",\"key\":", &content.key);
            string(out, b",\"parts\":", content.parts.as_str());
            out.push(b'}');
        }
    }

    fn time(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
        // Before 1970 both are negative; a clock that wrong is not on the fast path.
        let Ok(mut fraction) = u32::try_from(nanosecond) else {
            let _infallible = write!(out, "{time}");
            return;
        };
        if self.text.is_empty() || self.second != second {
            let whole = Timestamp::from_second(second).unwrap_or(time).to_string();
            whole.trim_end_matches('Z').clone_into(&mut self.text);
            self.second = second;
        }
        out.extend_from_slice(self.text.as_bytes());
        if fraction > 0 {
            let mut digits = *b".000000000";
            for digit in digits.iter_mut().skip(1).rev() {
                *digit += u8::try_from(fraction % 10).unwrap_or(0);
                fraction /= 10;
            }
            let end = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
            out.extend_from_slice(digits.get(..=end).unwrap_or_default());
        }
        out.push(b'Z');
    }
}

/// Appends `outcome` as the members of a JSON object, without braces.
pub(super) fn outcome(out: &mut Vec<u8>, outcome: &Outcome<'_>) {
    number(out, b"\"status\":", outcome.status);
    number(out, b",\"latency_us\":", outcome.latency_us);
    optional(out, b",\"answered_by\":", outcome.answered_by.map(InstanceName::as_str));
    if let Some(connection) = outcome.connection {
        out.extend_from_slice(b",\"connection\":\"");
        out.extend_from_slice(&connection.to_text());
        out.push(b'"');
    }
    optional(out, b",\"error\":", outcome.error);
    list(out, b",\"masked\":[", outcome.masked, |out, class| {
        string(out, b"", class.as_str());
    });
    match outcome.met {
        None => {}
        Some([]) => out.extend_from_slice(b",\"met\":[]"),
        Some(met) => list(out, b",\"met\":[", met, |out, class| string(out, b"", class.as_str())),
    }
    list(out, b",\"revealed\":[", outcome.revealed, |out, seen| {
        string(out, b"{\"class\":", seen.class.as_str());
        if let Some(grant) = seen.grant {
            out.extend_from_slice(b",\"grant\":\"");
            out.extend_from_slice(&grant.to_text());
            out.push(b'"');
        }
        out.push(b'}');
    });
}

/// Appends `key`, which opens a list, and what is in it, if there is anything.
fn list<T>(out: &mut Vec<u8>, key: &[u8], items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
    for (at, one) in items.iter().enumerate() {
        out.extend_from_slice(if at == 0 { key } else { b"," });
        item(out, one);
    }
    if !items.is_empty() {
        out.push(b']');
    }
}

fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        string(out, key, value);
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: impl itoa::Integer) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `key` and `value` as a JSON string.
fn string(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    if is_plain(value.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // INVARIANT: writing a string to memory cannot fail.
        let _infallible = serde_json::to_writer(out, value);
    }
}

/// Whether `text` needs no escapes: no control characters, quotes or backslashes (RFC 8259 section 7).
fn is_plain(text: &[u8]) -> bool {
    // The last bytes are looked at together with some that were looked at already: a loop over what
    // is left would cost more than all the others.
    if let Some(last) = text.last_chunk::<16>() {
        let (wholes, _) = text.as_chunks::<16>();
        return wholes
            .iter()
            .fold(is_plain_chunk(last), |plain, chunk| plain & is_plain_chunk(chunk));
    }
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => is_plain_chunk(first) & is_plain_chunk(last),
        (None, _) | (_, None) => text.iter().fold(true, |plain, byte| plain & !needs_escape(*byte)),
    }
}

/// Without a way out of the loop, it runs on all bytes at once.
fn is_plain_chunk<const N: usize>(chunk: &[u8; N]) -> bool {
    !chunk.iter().fold(false, |found, byte| found | needs_escape(*byte))
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut point: &[u8] = b"";
            for octet in address.octets() {
                number(out, point, octet);
                point = b".";
            }
        }
        IpAddr::V6(address) => {
            let _infallible = write!(out, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::{
        BundleDigest, BundleStamp, ClassName, ConnectionId, ContentNote, ContentParts, GrantId,
        PolicyId, PrincipalId, PrincipalKind, RequestId, Revealed,
    };
    use proptest::prelude::*;

    use super::*;

    fn same(attempt: &Attempt<'_>, outcome: &Outcome<'_>) {
        let mut out = Vec::new();
        let mut writer = Writer::default();
        // Twice, because the second one finds the text of its second.
        for _ in 0..2 {
            out.clear();
            writer.attempt(&mut out, attempt);
            out.push(b'}');
            assert_eq!(text(&out), serde_json::to_string(attempt).unwrap());
        }
        let mut out = b"{".to_vec();
        super::outcome(&mut out, outcome);
        out.push(b'}');
        assert_eq!(text(&out), serde_json::to_string(outcome).unwrap());
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn by_hand_is_what_serde_writes(
            bits in any::<u128>(),
            (second, nanosecond) in (-1_000_i64..4_000_000_000, prop_oneof![
                Just(0), Just(1), Just(120_000_000), 0..1_000_000_000
            ]),
            (subject, path, host) in (".*", "/.*", "[a-z.\\\\\"\u{0}-\u{1f}]{0,40}"),
            (named, whole) in (any::<bool>(), any::<bool>()),
            policies in proptest::collection::vec("[a-z.]{1,20}", 0..3),
            source in any::<IpAddr>(),
            (status, latency_us, generation) in any::<(u16, u64, u64)>(),
        ) {
            let kind = if named { PrincipalKind::User } else { PrincipalKind::Workload };
            let principal = PrincipalId { kind, id: subject.as_str().into() };
            let service: ServiceName = "payments".parse().unwrap();
            let instance: InstanceName = "p-2".parse().unwrap();
            let operation: OperationName = "payments.createRefund".parse().unwrap();
            let policies: Vec<PolicyId> = policies.iter().map(|id| id.parse().unwrap()).collect();
            let bundle = BundleStamp { digest: BundleDigest("sha256:00".into()), generation };
            let parts = ContentParts { headers: named, body: !named };
            let content = ContentNote { commitment: host.clone(), key: "k-1".into(), parts };
            let attempt = Attempt {
                request: RequestId::from_bits(bits),
                time: Timestamp::new(second, if second < 0 { 0 } else { nanosecond }).unwrap(),
                kind: "attempt",
                class: 4002,
                principal: named.then_some(&principal),
                auth_method: named.then_some("grant_token"),
                service: named.then_some(&service),
                instance: whole.then_some(&instance),
                operation: named.then_some(&operation),
                decision: "permit",
                refusal: whole.then_some("requestable"),
                policies: &policies,
                bundle: named.then_some(&bundle),
                grant: whole.then_some(GrantId::from_bits(bits)),
                source,
                country: whole.then_some("PT"),
                method: "GET",
                host: &host,
                path: &path,
                trace: whole.then_some("0af7651916cd43dd8448eb211c80319c"),
                content: whole.then_some(&content),
            };
            let (pci, pii): (ClassName, ClassName) = ("pci".parse().unwrap(), "pii".parse().unwrap());
            let masked = [&pci, &pii];
            let by_grant = Revealed { class: &pci, grant: Some(GrantId::from_bits(bits)) };
            let revealed = [by_grant, Revealed { class: &pii, grant: None }];
            let outcome = Outcome {
                status,
                latency_us,
                answered_by: named.then_some(&instance),
                connection: whole.then_some(ConnectionId::from_bits(bits)),
                error: whole.then_some("client-gone"),
                masked: if whole { &masked } else { &[] },
                met: match (whole, named) {
                    (true, true) => Some(&masked[1..]),
                    (true, false) => Some(&[]),
                    (false, _) => None,
                },
                revealed: if whole { &revealed } else { &[] },
            };
            same(&attempt, &outcome);
        }
    }
}
