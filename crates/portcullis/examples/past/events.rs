//! A long record, written by the log itself: attempts of many people, one step of time after the other.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_log::{CoreJournal, HealthState, Log, LogHandle, LogOptions};
use portcullis_model::{
    Attempt, BundleDigest, BundleStamp, ClassName, Clock, Entropy, GrantId, InstanceName,
    InvalidName, OperationName, Outcome, PolicyId, PrincipalId, PrincipalKind, RecordLevel,
    RequestId, Revealed, ServiceName,
};
use portcullis_store::{LogMark, StoredEvent};

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

pub(crate) const PEOPLE: u64 = 5_000;
pub(crate) const OPERATIONS: [&str; 4] = [
    "payments.listRefunds",
    "payments.getRefund",
    "payments.createRefund",
    "payments.createPayout",
];

/// Events after which one is waited for.
const TOGETHER: u64 = 256;

/// A record that is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) count: u64,
    pub(crate) start: Timestamp,
    /// From one event to the next.
    pub(crate) step: SignedDuration,
}

impl Past {
    /// When event `n` was.
    pub(crate) fn at(&self, n: u64) -> Timestamp {
        let nanos = self.step.as_nanos().saturating_mul(i128::from(n));
        self.start.checked_add(SignedDuration::from_nanos_i128(nanos)).unwrap_or(self.start)
    }

    /// Writes it behind what the log in `directory` has, and among it what a store has and the log has not, in the
    /// order of time; says where the log has that. Nobody else may have the log open.
    pub(crate) fn write(
        &self,
        directory: PathBuf,
        stored: &[StoredEvent],
    ) -> Result<Vec<LogMark>, Fault> {
        let public = std::fs::read_to_string(directory.join("log.pub"))?;
        let name = public.split('+').next().unwrap_or_default().to_owned();
        let options = LogOptions {
            directory,
            name,
            entropy: Arc::new(Fixed(self.start)),
            clock: Arc::new(Fixed(self.start)),
            checkpoint_every: Duration::from_secs(1),
            most: None,
        };
        let log = Log::open(&options)?;
        let handle = log.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let journal = handle.open_journal(0)?;
            let words = Words::new()?;
            let mut waiting = Vec::new();
            let mut stored = stored.iter().peekable();
            for n in 0..self.count {
                let now = self.at(n);
                while let Some(one) = stored.next_if(|one| one.event.time <= now) {
                    waiting.push((one.seq, handle.append(&one.event)));
                }
                self.attempt((&handle, &journal), &words, n).await?;
            }
            waiting.extend(stored.map(|one| (one.seq, handle.append(&one.event))));
            let mut marks = Vec::new();
            for (seq, appended) in waiting {
                marks.push(LogMark { seq, position: appended.await? });
            }
            Ok(marks)
        })
    }

    /// Writes attempt `n`, as soon as the log takes it; the first of each [`TOGETHER`] waits until it and those
    /// before are written.
    async fn attempt(
        &self,
        (log, journal): (&LogHandle, &CoreJournal),
        words: &Words,
        n: u64,
    ) -> Result<(), Fault> {
        let drawn = mixed(n);
        let principal =
            PrincipalId::new(PrincipalKind::User, "corp", &format!("u{}", drawn % PEOPLE));
        let [list, get, create, payout] = &words.operations;
        let operation = match drawn / 7 % 4 {
            0 => list,
            1 => get,
            2 => create,
            _ => payout,
        };
        let [one, two, three] = &words.instances;
        let answered_by = match drawn % 3 {
            0 => one,
            1 => two,
            _ => three,
        };
        let path = format!("/v1/refunds/R-{n}");
        let denied = drawn.is_multiple_of(997);
        let attempt = Attempt {
            request: RequestId::from_bits((1 << 100) | u128::from(n)),
            time: self.at(n),
            kind: "attempt",
            class: 4002,
            principal: Some(&principal),
            auth_method: Some("sign_in"),
            service: Some(&words.service),
            instance: None,
            operation: Some(operation),
            decision: if denied { "deny" } else { "permit" },
            refusal: denied.then_some("denied"),
            policies: &words.policies,
            bundle: Some(&words.bundle),
            grant: (drawn % 100 == 3).then(|| grant(n)),
            source: [10, 0, 0, 1].into(),
            country: None,
            method: "GET",
            host: "payments.example.com",
            path: &path,
            trace: Some("0af7651916cd43dd8448eb211c80319c"),
            content: None,
        };
        let revealed = [Revealed { class: &words.class, grant: Some(grant(n)) }];
        let outcome = Outcome {
            status: if denied { 403 } else { 200 },
            latency_us: 200 + ((drawn % 1_000) << (drawn / 1_000 % 10)),
            answered_by: Some(answered_by),
            revealed: if drawn.is_multiple_of(4999) { &revealed } else { &[] },
            ..Outcome::default()
        };
        put(log, journal, &attempt, &outcome, n.is_multiple_of(TOGETHER)).await
    }
}

/// Writes one attempt, as soon as the log takes it; waits until it is written if it `is_last` of some.
async fn put(
    log: &LogHandle,
    journal: &CoreJournal,
    attempt: &Attempt<'_>,
    outcome: &Outcome<'_>,
    is_last: bool,
) -> Result<(), Fault> {
    loop {
        caught_up(log).await;
        let written = if is_last {
            match journal.intent(attempt, RecordLevel::Standard) {
                Ok(recorded) => recorded.await,
                Err(broken) => Err(broken),
            }
        } else {
            journal.refused(attempt, outcome)
        };
        match (written, log.health().state()) {
            (Ok(()), _) => break,
            (Err(_), HealthState::Behind | HealthState::Working) => {}
            (Err(broken), state) => return Err(format!("{broken}: {state:?}").into()),
        }
    }
    if is_last {
        journal.outcome(attempt.request, outcome);
    }
    Ok(())
}

/// Until the log takes more: what writes faster than it is sequenced is refused.
async fn caught_up(log: &LogHandle) {
    while log.health().state() == HealthState::Behind {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Spreads what follows each other.
pub(crate) fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33
}

/// The grant of some of the events around `n`.
pub(crate) fn grant(n: u64) -> GrantId {
    GrantId::from_bits((1 << 80) | u128::from(n / 2_000))
}

/// What every event has.
struct Words {
    service: ServiceName,
    instances: [InstanceName; 3],
    operations: [OperationName; 4],
    policies: [PolicyId; 1],
    bundle: BundleStamp,
    class: ClassName,
}

impl Words {
    fn new() -> Result<Self, InvalidName> {
        let [list, get, create, payout] = OPERATIONS;
        Ok(Self {
            service: "payments".parse()?,
            instances: ["p-1".parse()?, "p-2".parse()?, "p-3".parse()?],
            operations: [list.parse()?, get.parse()?, create.parse()?, payout.parse()?],
            policies: ["payments.read".parse()?],
            bundle: BundleStamp {
                digest: BundleDigest("sha256:5f".repeat(12).into()),
                generation: 1,
            },
            class: "pci".parse()?,
        })
    }
}

/// A clock that stands, and no randomness: the same record each time.
#[derive(Debug)]
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}
