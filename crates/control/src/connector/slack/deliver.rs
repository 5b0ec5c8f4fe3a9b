//! Brings messages to Slack and keeps them true.
//!
//! The store says which messages there are and what each shows; whatever differs from how things are
//! is sent, and written down when Slack has taken it. So nothing is a queue: after an hour without
//! Slack each message is sent once, as things are then, and what is over by then and was never posted
//! is not; where nobody answered in time, that goes on record. A message may come twice if the process
//! ends between the two; it never stays behind. What Slack refuses for good, or was not there for in time,
//! is on record and set aside; somebody who sends it again has it follow its access request from then on.

use std::{sync::Arc, time::Duration};

use portcullis_model::{
    AccessRequest, AccessRequestId, AccessRequestState, EventType, NoticeId, PrincipalId,
    PrincipalKind, Secret, TokenHash, TokenKind,
};
use portcullis_policy::notice::SlackPlace;
use portcullis_store::{
    ButtonAct, Change, ChatChange, NoticeChange, Posted, StoredButton, StoredMessage,
};
use tokio::time::Instant;

use super::{
    NotTaken, Slack,
    aside::{self, chat},
    card::Card,
    desk::Pause,
    people,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    feed::{About, Heard, Listener},
    rights::{self, How},
    usecase::{access_requests, notices},
};

/// What changes together is said together.
const SETTLES: Duration = Duration::from_millis(150);
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// Reviewers who are told of one access request by direct message.
const MOST_DIRECT: usize = 8;
/// Reviewers who are looked at for whether chat is good for one of them.
const LOOKED_AT: usize = 64;

/// Our own word for whoever could review and has no account there: others are told.
const NOBODY: &str = "not_known_in_slack";
/// What Slack says of a message that stays as it is, or is gone.
const FIXED: [&str; 3] = ["message_not_found", "cant_update_message", "edit_window_closed"];

type Result<T> = std::result::Result<T, ControlError>;

/// Somebody is to be told in Slack: what has to be posted is written down instead of the notice.
pub(crate) async fn begin(
    core: &Arc<Core>,
    slack: &Slack,
    op: &OpContext,
    id: NoticeId,
    (request, named): (&AccessRequest, &SlackPlace),
) -> Result<()> {
    let end = Change::Notice(NoticeChange::End(id));
    let places = match named {
        SlackPlace::Reviewers => reviewers(core, slack, op, request),
        SlackPlace::Channel(_) | SlackPlace::Member(_) | SlackPlace::Person(_) => {
            vec![named.clone()]
        }
    };
    let message = |place: SlackPlace| StoredMessage {
        id: NoticeId::new(op.now(), core.entropy.as_ref()),
        access_request: request.id,
        place: place.to_string(),
        posted: None,
        shown: None,
        version: 0,
        to_reviewer: *named == SlackPlace::Reviewers,
        anyway: false,
    };
    let added = places.into_iter().map(|place| chat(ChatChange::Add(message(place))));
    core.settle_unless_done(added.chain([end]).collect()).await?;
    slack.desk.look_at(request.id, Instant::now());
    Ok(())
}

fn reviewers(
    core: &Core,
    slack: &Slack,
    op: &OpContext,
    request: &AccessRequest,
) -> Vec<SlackPlace> {
    let hows = [How::Plain, How::WithPasskey, How::Chat];
    let mut could = rights::who_could(core, op, request, &hows, LOOKED_AT);
    could.retain(|principal| people::may_have_account(slack, principal));
    could.truncate(MOST_DIRECT);
    could.iter().map(|principal| SlackPlace::Person(Arc::clone(&principal.id.id))).collect()
}

/// Something about `request` may have changed.
pub(crate) fn look_at(slack: &Slack, request: AccessRequestId) {
    slack.desk.look_at(request, Instant::now());
}

/// Keeps messages true until aborted.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(slack) = core.slack.clone() else { return };
    // Before it looks, so that nothing falls between.
    let mut listener = Listener::new(&core);
    let mut bringer = Bringer {
        core,
        slack: Arc::clone(&slack),
        is_ours: false,
        posts: Pause::default(),
        updates: Pause::default(),
        reached: Pause::default(),
        failing: false,
    };
    bringer.look_at_all().await;
    loop {
        tokio::select! {
            heard = listener.next() => bringer.heard(heard).await,
            () = slack.desk.wait() => bringer.bring_next().await,
        }
    }
}

struct Bringer {
    core: Arc<Core>,
    slack: Arc<Slack>,
    /// The token is of the workspace that the configuration names.
    is_ours: bool,
    posts: Pause,
    updates: Pause,
    reached: Pause,
    failing: bool,
}

/// Not now.
enum Later {
    At(Instant),
    Own(ControlError),
}

impl<E: Into<ControlError>> From<E> for Later {
    fn from(error: E) -> Self {
        Self::Own(error.into())
    }
}

impl Bringer {
    async fn look_at_all(&self) {
        match self.core.store.chat_messages().await {
            Ok(all) => {
                let now = Instant::now();
                for one in &all {
                    self.slack.desk.look_at(one.access_request, now);
                }
            }
            Err(error) => tracing::error!(%error, "messages in Slack cannot be read"),
        }
    }

    async fn heard(&self, heard: Heard) {
        let id = match heard {
            Heard::Notice(notice) => match notice.about {
                About::AccessRequest(id) => Some(id),
                About::Grant(id) => {
                    let grant = self.core.store.grant(id).await.ok().flatten();
                    grant.map(|grant| grant.access_request)
                }
            },
            Heard::Rights => None,
            Heard::Behind => {
                self.look_at_all().await;
                None
            }
        };
        if let Some(id) = id {
            self.slack.desk.look_at(id, Instant::now() + SETTLES);
        }
    }

    async fn bring_next(&mut self) {
        let Some(id) = self.slack.desk.take_due(Instant::now()) else { return };
        match self.bring(id).await {
            Ok(()) => {}
            Err(Later::At(at)) => self.slack.desk.look_at(id, at),
            Err(Later::Own(error)) => {
                tracing::error!(%error, "messages in Slack wait for the store");
                self.slack.desk.look_at(id, Instant::now() + STORE_PAUSE);
            }
        }
    }

    async fn bring(&mut self, id: AccessRequestId) -> std::result::Result<(), Later> {
        let messages = self.core.store.chat_messages_about(id).await?;
        if messages.is_empty() {
            return Ok(());
        }
        let Some(request) = self.core.store.access_request(id).await? else { return Ok(()) };
        // Also while Slack is not there.
        let messages = aside::without_late(&self.core, &request, messages).await?;
        if messages.is_empty() {
            return Ok(());
        }
        if let Some(at) = self.reached.until() {
            return Err(Later::At(at));
        }
        self.is_ours().await?;
        let op = aside::op(&self.core);
        let by_chat = self.could_press(&op, &request);
        let card = self.card(&op, request).await?;
        let mut later = Ok(());
        // One that has to wait does not hold the others up.
        for message in messages {
            if let Err(error) = self.bring_one(&card, &by_chat, message).await {
                later = Err(match (later, error) {
                    (Err(Later::At(one)), Later::At(other)) => Later::At(one.min(other)),
                    (_, error) => error,
                });
            }
        }
        later
    }

    /// Principals who could answer it by chat.
    fn could_press(&self, op: &OpContext, request: &AccessRequest) -> Vec<PrincipalId> {
        let pending = request.state == AccessRequestState::Pending;
        if !pending || op.now() >= request.expires_at || request.is_emergency() {
            return Vec::new();
        }
        let could = rights::who_could(&self.core, op, request, &[How::Chat], LOOKED_AT);
        could.iter().map(|principal| principal.id.clone()).collect()
    }

    async fn card(&self, op: &OpContext, request: AccessRequest) -> Result<Card> {
        let core = &self.core;
        let grants = notices::grants(core, &request).await?;
        let refusal = match &request.refusal {
            Some(id) => core.store.refusal(&request.requester, id).await?,
            None => None,
        };
        let summary = request.held.as_ref().map(|held| held.summary.clone());
        let pending = request.state == AccessRequestState::Pending;
        let body = if pending { access_requests::body(core, &request).await? } else { None };
        let reviewers = if pending { rights::reviewers_of(core, op, &request) } else { Vec::new() };
        Ok(Card {
            page: self.slack.page_of(&request),
            summary: summary.or(refusal.map(|refusal| refusal.summary)),
            body,
            grants,
            reviewers,
            request,
        })
    }

    async fn bring_one(
        &mut self,
        card: &Card,
        by_chat: &[PrincipalId],
        message: StoredMessage,
    ) -> std::result::Result<(), Later> {
        let pressable = is_pressable(&message, by_chat);
        let digest = card.digest(pressable);
        if message.shown.as_ref() == Some(&digest) {
            return if card.is_final() {
                Ok(aside::end(&self.core, message.id, Vec::new()).await?)
            } else {
                Ok(())
            };
        }
        let paused = if message.posted.is_some() { &self.updates } else { &self.posts };
        if let Some(at) = paused.until().or(self.reached.until()) {
            return Err(Later::At(at));
        }
        if message.posted.is_none() {
            self.turn(&message.place)?;
        }
        let buttons = if pressable { self.draw(card, &message).await? } else { Vec::new() };
        let text = card.message(pressable.then_some(buttons.as_slice()));
        let sent = match &message.posted {
            Some(posted) => {
                let updated = self.slack.parts.api.update(posted, &text).await;
                updated.map(|()| posted.clone())
            }
            None => self.post(&message, &text).await,
        };
        match sent {
            Ok(posted) => self.taken(card, message, posted, digest, &buttons).await,
            Err(error) => self.not_taken(card, message, error).await,
        }
    }

    /// A channel's turn: it is not flooded with what gathered.
    fn turn(&self, place: &str) -> std::result::Result<(), Later> {
        let now = self.core.now();
        self.core.paces.turn(&format!("slack:{place}"), now).map_err(|free| {
            let rest = Duration::try_from(free.duration_since(now)).unwrap_or_default();
            Later::At(Instant::now() + rest)
        })
    }

    /// New buttons, written down before anybody can press them.
    async fn draw(&self, card: &Card, message: &StoredMessage) -> Result<Vec<(ButtonAct, Secret)>> {
        let entropy = self.core.entropy.as_ref();
        let new = |act| (act, TokenKind::Button.issue(entropy));
        let buttons: Vec<_> = card.acts().into_iter().map(new).collect();
        let stored = buttons.iter().map(|(act, carried)| {
            let button = StoredButton {
                message: message.id,
                access_request: message.access_request,
                act: *act,
            };
            (TokenHash::of(carried.expose()), button)
        });
        let change = chat(ChatChange::Draw(stored.collect()));
        self.core.store.commit(vec![change]).await?;
        Ok(buttons)
    }

    async fn post(
        &self,
        message: &StoredMessage,
        text: &serde_json::Value,
    ) -> std::result::Result<Posted, NotTaken> {
        let unknown = || NotTaken::Refused(NOBODY.to_owned());
        let channel = match message.place.parse::<SlackPlace>().map_err(|_| unknown())? {
            SlackPlace::Channel(channel) => channel.to_string(),
            SlackPlace::Member(id) => id.to_string(),
            SlackPlace::Person(id) => {
                let id = PrincipalId { kind: PrincipalKind::User, id };
                let principal = self.core.snapshot().principal(&id).cloned().ok_or_else(unknown)?;
                people::account(&self.slack, &principal).await?.ok_or_else(unknown)?
            }
            SlackPlace::Reviewers => return Err(unknown()),
        };
        self.slack.parts.api.post(&channel, text).await
    }

    /// Slack has it: from now on the buttons of before are spent.
    async fn taken(
        &mut self,
        card: &Card,
        message: StoredMessage,
        posted: Posted,
        digest: String,
        buttons: &[(ButtonAct, Secret)],
    ) -> std::result::Result<(), Later> {
        self.reached = Pause::default();
        if std::mem::take(&mut self.failing) {
            tracing::info!("Slack takes messages again");
        }
        let first = message.posted.is_none();
        let place = format!("slack:{}", message.place);
        let (id, version) = (message.id, message.version + 1);
        let message =
            StoredMessage { posted: Some(posted), shown: Some(digest), version, ..message };
        let buttons = buttons.iter().map(|(_, carried)| TokenHash::of(carried.expose())).collect();
        let mut changes = vec![chat(ChatChange::Show { message, buttons })];
        let delivered =
            || aside::noted(&self.core, &card.request, EventType::NoticeDelivered, place);
        changes.extend(first.then(delivered));
        self.core.settle_unless_done(changes).await?;
        if card.is_final() {
            aside::end(&self.core, id, Vec::new()).await?;
        }
        Ok(())
    }

    async fn not_taken(
        &mut self,
        card: &Card,
        message: StoredMessage,
        error: NotTaken,
    ) -> std::result::Result<(), Later> {
        let paused = if message.posted.is_some() { &mut self.updates } else { &mut self.posts };
        match error {
            NotTaken::Limited(wait) => Err(Later::At(paused.for_so_long(wait))),
            NotTaken::Unavailable(why) => Err(Later::At(self.unreachable(&why))),
            NotTaken::Refused(ref code) => {
                let why = error.to_string();
                tracing::warn!(
                    place = message.place,
                    why,
                    "a message is not posted, or not changed"
                );
                if message.to_reviewer && code == NOBODY {
                    return Ok(aside::given_up(&self.core, &card.request, message, &why).await?);
                }
                // Sent again, one that can be changed no more is posted anew.
                let posted = message.posted.clone().filter(|_| !FIXED.contains(&code.as_str()));
                let message = StoredMessage { posted, ..message };
                Ok(aside::set_aside(&self.core, &card.request, message, &why).await?)
            }
        }
    }

    fn unreachable(&mut self, why: &str) -> Instant {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(why, "Slack cannot be reached; messages are brought when it can be");
        }
        self.reached.longer()
    }

    /// A token of another workspace would tell strangers.
    async fn is_ours(&mut self) -> std::result::Result<(), Later> {
        if self.is_ours {
            return Ok(());
        }
        let ours = &self.slack.parts.workspace;
        match self.slack.parts.api.workspace().await {
            Ok(workspace) if workspace == *ours => {
                self.is_ours = true;
                Ok(())
            }
            Ok(other) => {
                tracing::error!(
                    ours,
                    other,
                    "the bot token is of another workspace: nothing is posted"
                );
                Err(Later::At(self.reached.longer()))
            }
            Err(NotTaken::Limited(wait)) => Err(Later::At(self.reached.for_so_long(wait))),
            Err(error) => Err(Later::At(self.unreachable(&error.to_string()))),
        }
    }
}

/// Whether the message's readers could press something: whose alone it is, or one of them.
fn is_pressable(message: &StoredMessage, by_chat: &[PrincipalId]) -> bool {
    match message.place.parse() {
        Ok(SlackPlace::Person(id)) => by_chat.iter().any(|could| could.id == id),
        _ => !by_chat.is_empty(),
    }
}
