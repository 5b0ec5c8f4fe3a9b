//! The body of a masked answer: decoded, looked into, and ended where that cannot go on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use portcullis_policy::{ClassSet, sensitive::message::Shape};

use super::{
    Framing, Json, Rules, Trouble, coding::Decoder, events::Events, head, messages::Messages,
};
use crate::{
    body::{BodyError, Download},
    connection::Watch,
    ports::ConnectionEnd,
    refuse::grpc::cut_trailers,
    reveal::Met,
};

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is nothing, or there has to be nothing: whatever comes cannot be looked into.
    Nothing,
    /// Documents.
    Json(Framing),
    /// Server-sent events.
    Events,
    /// Messages of gRPC.
    Messages,
}

impl Kind {
    /// Of a content type.
    pub(crate) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("text/event-stream") {
            return Self::Events;
        }
        if ["application/grpc", "application/grpc+proto"]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
        {
            return Self::Messages;
        }
        Framing::of(content_type).map_or(Self::Nothing, Self::Json)
    }

    /// Whether its beginning may take any time to come, so that its head does not wait for it.
    pub(crate) fn trickles(self) -> bool {
        matches!(
            self,
            Self::Events | Self::Messages | Self::Json(Framing::Lines | Framing::Sequence)
        )
    }
}

/// What the messages of an answer look like.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shape: Shape,
    /// How those are packed that say so.
    pub(crate) packed: Option<Decoder>,
}

#[derive(Debug)]
enum Inspector {
    Nothing,
    Json(Json),
    Events(Events),
    Messages(Messages),
}

impl Inspector {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Nothing if bytes.is_empty() => Ok(()),
            Self::Nothing => Err(Trouble::Type),
            Self::Json(json) => json.push(bytes, out),
            Self::Events(events) => events.push(bytes, out),
            Self::Messages(messages) => messages.push(bytes, out),
        }
    }

    /// What was masked so far.
    fn met(&self) -> ClassSet {
        match self {
            Self::Nothing => ClassSet::default(),
            Self::Json(json) => json.met(),
            Self::Events(events) => events.met(),
            Self::Messages(messages) => messages.met(),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Json(json) => json.finish(out),
            // What follows the last blank line is no event.
            Self::Nothing | Self::Events(_) => Ok(()),
            Self::Messages(messages) => messages.finish(),
        }
    }
}

/// What came and is not looked into yet, and what looks into it.
#[derive(Debug)]
struct Work {
    decoder: Decoder,
    inspector: Inspector,
    rest: Bytes,
}

impl Work {
    /// Looks into what there is, until that gave enough.
    fn on(&mut self) -> Result<Vec<u8>, Trouble> {
        let size = self.rest.len().min(self.decoder.piece().max(ENOUGH));
        let mut out = Vec::with_capacity(size + size / 8);
        let (decoder, inspector) = (&mut self.decoder, &mut self.inspector);
        while !self.rest.is_empty() && out.len() < ENOUGH {
            let piece = self.rest.split_to(decoder.piece().min(self.rest.len()));
            decoder.push(&piece, |bytes| inspector.push(bytes, &mut out))?;
        }
        Ok(out)
    }

    /// There is no more.
    fn finish(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut out = Vec::new();
        let inspector = &mut self.inspector;
        self.decoder.finish(|bytes| inspector.push(bytes, &mut out))?;
        inspector.finish(&mut out)?;
        Ok(out)
    }
}

/// What is made ready at once, more or less: what is packed may become many times as much.
const ENOUGH: usize = 64 * 1024;

/// A response body that is masked on its way down.
#[derive(Debug)]
pub(crate) struct Masked {
    download: Download,
    work: Work,
    kind: Kind,
    rules: Rules,
    met: Rc<Met>,
    /// Masked, and not taken yet.
    ready: Option<Bytes>,
    /// What says how a call ended.
    trailers: Option<HeaderMap>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
    Failed(Trouble),
}

impl Masked {
    /// `call` is what messages of gRPC look like, if it is known, and how they are packed.
    pub(crate) fn new(
        download: Download,
        decoder: Decoder,
        kind: Kind,
        call: Option<Call>,
        rules: Rules,
        met: Rc<Met>,
    ) -> Self {
        let its = rules.clone();
        let inspector = match (kind, call) {
            (Kind::Nothing, _) | (Kind::Messages, None) => Inspector::Nothing,
            (Kind::Json(framing), _) => Inspector::Json(Json::new(its, framing)),
            (Kind::Events, _) => Inspector::Events(Events::new(its)),
            (Kind::Messages, Some(Call { shape, packed })) => {
                Inspector::Messages(Messages::new(its, shape, packed))
            }
        };
        let work = Work { decoder, inspector, rest: Bytes::new() };
        let (ready, trailers) = (None, None);
        Self { download, work, kind, rules, met, ready, trailers, state: State::Open }
    }

    /// Waits for the beginning, so that an answer that cannot be looked into is refused in words. Of what
    /// trickles, it looks at what is there and waits for nothing.
    pub(crate) async fn begin(&mut self) -> Result<(), BodyError> {
        if self.download.is_end_stream() && self.state == State::Open {
            // A head is all there is.
            self.end();
        }
        std::future::poll_fn(|cx| match self.poll_ready(cx) {
            Poll::Pending if self.kind.trickles() => Poll::Ready(Ok(())),
            polled => polled,
        })
        .await
    }

    /// All of it, if it is all here and has not begun to leave.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        let is_whole = self.state == State::Over && self.trailers.is_none();
        is_whole.then(|| self.ready.take().unwrap_or_default())
    }

    /// What watches it: from here on something does, if more will come.
    pub(crate) fn watched(&mut self) -> Option<Rc<Watch>> {
        if self.state == State::Open { self.download.watched() } else { None }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over && self.ready.is_none() && self.trailers.is_none()
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(self.poll_ready(cx)) {
            Ok(()) => {
                let data = self.ready.take().map(Frame::data);
                Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
            }
            Err(error) if self.kind == Kind::Messages && error.is::<Trouble>() => {
                // A call ends with its status.
                self.state = State::Over;
                Poll::Ready(Some(Ok(Frame::trailers(cut_trailers(ConnectionEnd::Opaque)))))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Until there is something to pass, or nothing more. Once a document ended and its end is there, no
    /// more is waited for.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.ready.is_none() {
            match self.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Failed(trouble) => return Poll::Ready(Err(trouble.into())),
                State::Open => {}
            }
            if self.work.rest.is_empty() {
                let frame = match ready!(self.download.poll(cx)) {
                    Some(Ok(frame)) => frame,
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => {
                        self.end();
                        continue;
                    }
                };
                match frame.into_data() {
                    Ok(data) => self.work.rest = data,
                    Err(frame) => self.trail(frame.into_trailers().unwrap_or_default()),
                }
            }
            if self.state == State::Open {
                let worked = caught(|| self.work.on());
                self.took(worked);
            }
            let is_done = self.state == State::Open && self.work.rest.is_empty();
            if is_done && self.download.is_end_stream() {
                self.end();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Trailers may say anything: those of calls say how they ended, and others are dropped.
    fn trail(&mut self, mut trailers: HeaderMap) {
        if self.kind != Kind::Messages {
            return self.end();
        }
        let is_fine = trailers.get("grpc-status").is_some_and(|status| status == "0");
        if is_fine {
            self.end();
        } else {
            // What came of a message that will not be whole is dropped.
            self.state = State::Over;
            self.met.end();
        }
        head::of_trailers(&mut trailers, &self.rules);
        self.trailers = Some(trailers).filter(|_| self.state == State::Over);
    }

    fn end(&mut self) {
        self.state = State::Over;
        let finished = caught(|| self.work.finish());
        self.took(finished);
        self.met.end();
    }

    fn took(&mut self, taken: Result<Vec<u8>, Trouble>) {
        self.met.add(self.work.inspector.met());
        let out = match taken {
            Ok(out) => out,
            Err(trouble) => {
                tracing::warn!(%trouble, "an answer with sensitive data cannot be inspected, and ends");
                self.state = State::Failed(trouble);
                self.ready = None;
                self.download.finish(ConnectionEnd::Opaque);
                self.met.end();
                return;
            }
        };
        if out.is_empty() {
            return;
        }
        let out = Bytes::from(out);
        self.ready = Some(match self.ready.take() {
            None => out,
            Some(before) => Bytes::from([before, out].concat()),
        });
    }
}

impl Drop for Masked {
    /// Whoever leaves, or is cut, meets no more.
    fn drop(&mut self) {
        self.met.end();
    }
}

/// A panic is a trouble like any other: what was under way of the answer is not used again.
fn caught<T>(run: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Trouble::Panicked))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use flate2::{Compression, write::GzEncoder};
    use http::header;
    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, SensitiveSource},
    };

    use super::*;

    #[test]
    fn f13_a_panic_while_masking_ends_that_answer_and_nothing_else() {
        let panicked = caught(|| -> Result<(), Trouble> { panic!("by a test") });
        assert_eq!(panicked, Err(Trouble::Panicked));
        assert_eq!(caught(|| Ok(7)), Ok(7));
    }

    #[test]
    fn g13_what_unpacks_to_much_is_made_ready_bit_by_bit() {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$..pin".to_owned()]);
        let class = ClassSource { name, paths, mask: Mask::Full, recognise: Vec::new() };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        let rules = Rules::new(Arc::new(sensitive), all);
        let line = |n: u32| format!("{{\"n\":{n},\"a\":\"{}\"}},", "bcdef".repeat(10));
        let lines: String = (0..200_000).map(line).collect();
        let text = format!("[{lines}{{\"pin\":\"4111\"}}]");
        let mut writer = GzEncoder::new(Vec::new(), Compression::default());
        writer.write_all(text.as_bytes()).unwrap();
        let packed = Bytes::from(writer.finish().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        let decoder = Decoder::of(&headers).unwrap();
        let inspector = Inspector::Json(Json::new(rules, Framing::One));
        let mut work = Work { decoder, inspector, rest: packed };
        let mut whole = Vec::new();
        while !work.rest.is_empty() {
            let out = work.on().unwrap();
            assert!(out.len() < 1024 * 1024, "{}", out.len());
            whole.extend(out);
        }
        whole.extend(work.finish().unwrap());
        assert!(whole == text.replace("\"4111\"", "\"***\"").into_bytes());
    }
}
