//! Follows the messages of one direction of one connection, HTTP/1.0 and 1.1, byte by byte where their
//! boundaries are and by counting where they are not.
//!
//! It keeps no bytes and takes no memory: it is shown them, says how many are sound, and is shown the rest
//! again together with what comes next. It depends on nothing, so that it can be measured and fuzzed alone.

use super::{
    defect::Defect,
    line::{self, Field},
};

/// A head of a request is no longer, and has no more fields.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
pub(crate) const MAX_FIELDS: u16 = 100;
/// The same for answers, which people's own services send.
const MAX_ANSWER_HEAD: usize = 256 * 1024;
const MAX_ANSWER_FIELDS: u16 = 200;
/// Trailers, which nobody sends many of.
const MAX_TRAILERS: usize = 8 * 1024;
const MAX_TRAILER_FIELDS: u16 = 64;
/// One chunk extension, and all of a message.
const MAX_EXTENSION: usize = 256;
const MAX_EXTENSIONS: usize = 8 * 1024;
/// Interim answers (1xx) to one request.
pub(super) const MAX_INTERIM: u16 = 64;

/// What an answer will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Anything but the following.
    Plain,
    /// HEAD: an answer to it has no body.
    Head,
    /// A request that asks for another protocol.
    Upgrade,
}

/// What the reader is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    /// The answers to what was asked.
    Answers(Option<Asked>),
}

/// Where in a message the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// A body that ends with its connection, or a tunnel.
    Open,
    /// Behind a request for another protocol: what comes may be another request, or no HTTP at all.
    Behind,
    /// Nothing more is read.
    Over,
}

/// What is known of the head that is being read.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, found in any order")]
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    /// Where the next line begins. Lines before that are sound.
    line: usize,
    fields: u16,
    /// The status of an answer.
    status: u16,
    length: Option<u64>,
    is_chunked: bool,
    is_old: bool,
    has_host: bool,
    is_connect: bool,
    asks_upgrade: bool,
}

/// What comes behind the bytes that are sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The rest, if there is one, is the beginning of something whose end is still to come.
    More,
    /// What is behind a request that asks for another protocol; [`Reader::settle`] says what it is.
    Wait,
    /// Nothing that is looked at.
    Nothing,
    /// A head that is not sound, of which nothing is among the sound bytes.
    Refuse(Defect),
    /// A body that is not sound, or an answer.
    Break(Defect),
}

/// What there is to say about some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// So many of the first bytes are sound.
    pub(crate) sound: usize,
    pub(crate) then: Then,
}

/// Follows one direction of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    side: Side,
    place: Place,
    head: Head,
    /// Bytes of chunk extensions in this message.
    extensions: usize,
    /// Interim answers to this request.
    interim: u16,
}

impl Reader {
    /// For what a client sends.
    pub(crate) const fn of_requests() -> Self {
        Self::of(Side::Requests)
    }

    /// For what an upstream answers.
    pub(crate) const fn of_answers() -> Self {
        Self::of(Side::Answers(None))
    }

    const fn of(side: Side) -> Self {
        let head = Head {
            line: 0,
            fields: 0,
            status: 0,
            length: None,
            is_chunked: false,
            is_old: false,
            has_host: false,
            is_connect: false,
            asks_upgrade: false,
        };
        Self { side, place: Place::Head, head, extensions: 0, interim: 0 }
    }

    /// A request was sent: one answer may come.
    pub(crate) fn ask(&mut self, asked: Asked) {
        self.side = Side::Answers(Some(asked));
    }

    /// The request that asked for another protocol is answered: a tunnel begins, or the next request.
    pub(crate) fn settle(&mut self, is_tunnel: bool) {
        if self.place == Place::Behind {
            self.place = if is_tunnel { Place::Open } else { Place::Head };
        }
    }

    /// Whether it follows what a client sends.
    pub(crate) fn is_of_requests(&self) -> bool {
        self.side == Side::Requests
    }

    /// Whether it waits for [`Reader::settle`].
    pub(crate) fn is_waiting(&self) -> bool {
        self.place == Place::Behind
    }

    /// Looks at `bytes`, which begin where the sound ones of the last time ended.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Step {
        let mut sound = 0;
        loop {
            let rest = bytes.get(sound..).unwrap_or_default();
            if rest.is_empty() {
                return Step { sound, then: Then::More };
            }
            let in_head = self.place == Place::Head;
            match self.unit(rest) {
                Ok(Some(length)) => sound += length,
                Ok(None) => {
                    let then = match self.place {
                        Place::Behind => Then::Wait,
                        Place::Over => Then::Nothing,
                        _ => Then::More,
                    };
                    return Step { sound, then };
                }
                Err(defect) => {
                    self.place = Place::Over;
                    let is_refused = in_head && self.side == Side::Requests;
                    let then = if is_refused { Then::Refuse(defect) } else { Then::Break(defect) };
                    return Step { sound, then };
                }
            }
        }
    }

    /// Reads what the next bytes are one of: a head, a part of a body, a line.
    fn unit(&mut self, bytes: &[u8]) -> line::Read<usize> {
        match self.place {
            Place::Head => self.head(bytes),
            Place::Body(left) => {
                let (length, left) = count(bytes, left);
                self.place = Place::Body(left);
                if left == 0 {
                    self.next();
                }
                Ok(Some(length))
            }
            Place::ChunkData(left) => {
                let (length, left) = count(bytes, left);
                self.place = if left == 0 { Place::ChunkEnd } else { Place::ChunkData(left) };
                Ok(Some(length))
            }
            Place::ChunkLine => self.chunk_line(bytes),
            Place::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.place = Place::ChunkLine;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                _ => Err(Defect::ChunkEnd),
            },
            Place::Trailers => self.trailers(bytes),
            Place::Open => Ok(Some(bytes.len())),
            Place::Behind | Place::Over => Ok(None),
        }
    }

    /// A whole head. Lines that were read are not read again when more of it comes.
    fn head(&mut self, bytes: &[u8]) -> line::Read<usize> {
        let (max_head, max_fields) = match self.side {
            Side::Requests => (MAX_HEAD, MAX_FIELDS),
            Side::Answers(None) => return Err(Defect::Unasked),
            Side::Answers(Some(_)) => (MAX_ANSWER_HEAD, MAX_ANSWER_FIELDS),
        };
        if self.head.line == 0 {
            match self.first_line(bytes)? {
                Some(length) => self.head.line = length,
                None => return within(bytes, max_head),
            }
        }
        loop {
            let rest = bytes.get(self.head.line..).unwrap_or_default();
            match line::field(rest)? {
                Some(Field::Named { name, value, length }) => {
                    self.head.fields += 1;
                    if self.head.fields > max_fields {
                        return Err(Defect::TooManyFields);
                    }
                    self.field(name, value)?;
                    self.head.line += length;
                }
                Some(Field::End { length }) => {
                    let length = self.head.line + length;
                    if length > max_head {
                        return Err(Defect::HeadTooLarge);
                    }
                    self.begin(bytes.len() > length)?;
                    return Ok(Some(length));
                }
                None => return within(bytes, max_head),
            }
        }
    }

    fn first_line(&mut self, bytes: &[u8]) -> line::Read<usize> {
        if self.side == Side::Requests {
            let Some(line) = line::request_line(bytes)? else { return Ok(None) };
            self.head.is_old = line.is_old;
            self.head.is_connect = line.method == b"CONNECT";
            return Ok(Some(line.length));
        }
        let Some(line) = line::status_line(bytes)? else { return Ok(None) };
        self.head.is_old = line.is_old;
        self.head.status = line.status;
        Ok(Some(line.length))
    }

    /// One field of a head: what frames a message may be there once, and in one form.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Defect> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") && self.side == Side::Requests => {
                if std::mem::replace(&mut self.head.has_host, true) {
                    return Err(Defect::TwoHosts);
                }
                if !line::is_host(value) {
                    return Err(Defect::Host);
                }
            }
            7 if is(b"upgrade") => self.head.asks_upgrade = true,
            14 if is(b"content-length") => {
                let length = line::length(value).ok_or(Defect::Length)?;
                if self.head.length.replace(length).is_some() {
                    return Err(Defect::TwoLengths);
                }
            }
            17 if is(b"transfer-encoding") => {
                let is_second = std::mem::replace(&mut self.head.is_chunked, true);
                if is_second || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Defect::Coding);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A head is whole: what it frames begins. `surplus` if there are bytes behind it.
    fn begin(&mut self, surplus: bool) -> Result<(), Defect> {
        let head = std::mem::take(&mut self.head);
        if head.is_chunked && head.length.is_some() {
            return Err(Defect::LengthAndCoding);
        }
        if head.is_chunked && head.is_old {
            return Err(Defect::CodingTooOld);
        }
        match self.side {
            Side::Requests => self.begin_request(&head),
            Side::Answers(asked) => self.begin_answer(&head, asked, surplus),
        }
    }

    fn begin_request(&mut self, head: &Head) -> Result<(), Defect> {
        if !head.has_host {
            return Err(Defect::NoHost);
        }
        self.place = match (head.is_chunked, head.length) {
            // A tunnel, if it were ever allowed. It is not, and nothing behind it is a request.
            _ if head.is_connect => Place::Over,
            (true, _) => Place::ChunkLine,
            (false, Some(length @ 1..)) => Place::Body(length),
            (false, Some(0) | None) => {
                self.next();
                if head.asks_upgrade { Place::Behind } else { Place::Head }
            }
        };
        Ok(())
    }

    fn begin_answer(
        &mut self,
        head: &Head,
        asked: Option<Asked>,
        surplus: bool,
    ) -> Result<(), Defect> {
        let announces = head.is_chunked || head.length.is_some_and(|length| length > 0);
        match head.status {
            101 if asked != Some(Asked::Upgrade) => Err(Defect::Unasked),
            101 => {
                self.next();
                self.place = Place::Open;
                Ok(())
            }
            100..=199 => {
                self.interim += 1;
                let too_many = self.interim > MAX_INTERIM;
                if too_many { Err(Defect::Interim) } else { no_body(announces) }
            }
            204 | 304 => self.end_at_head(surplus, head.status == 204 && announces),
            _ if asked == Some(Asked::Head) => self.end_at_head(surplus, false),
            _ => {
                self.place = match (head.is_chunked, head.length) {
                    (true, _) => Place::ChunkLine,
                    (false, Some(length @ 1..)) => Place::Body(length),
                    (false, Some(0)) => return self.end_at_head(surplus, false),
                    (false, None) => Place::Open,
                };
                Ok(())
            }
        }
    }

    /// An answer without a body: bytes behind it would be taken for the next answer.
    fn end_at_head(&mut self, surplus: bool, announces: bool) -> Result<(), Defect> {
        self.next();
        if surplus { Err(Defect::Unasked) } else { no_body(announces) }
    }

    fn chunk_line(&mut self, bytes: &[u8]) -> line::Read<usize> {
        let most = MAX_EXTENSION.min(MAX_EXTENSIONS - self.extensions);
        let Some(line) = line::chunk_line(bytes, most)? else { return Ok(None) };
        self.extensions += line.extension;
        self.place = if line.size == 0 { Place::Trailers } else { Place::ChunkData(line.size) };
        Ok(Some(line.length))
    }

    /// All trailers at once, up to and with the empty line.
    fn trailers(&mut self, bytes: &[u8]) -> line::Read<usize> {
        loop {
            let rest = bytes.get(self.head.line..).unwrap_or_default();
            let read = line::field(rest)?;
            let end = match read {
                Some(Field::Named { length, .. } | Field::End { length }) => {
                    self.head.line + length
                }
                None => bytes.len(),
            };
            if end > MAX_TRAILERS || self.head.fields > MAX_TRAILER_FIELDS {
                return Err(Defect::Trailers);
            }
            match read {
                Some(Field::Named { .. }) => {
                    self.head.fields += 1;
                    self.head.line = end;
                }
                Some(Field::End { .. }) => {
                    self.next();
                    return Ok(Some(end));
                }
                None => return Ok(None),
            }
        }
    }

    /// A message is over.
    fn next(&mut self) {
        self.place = Place::Head;
        self.head = Head::default();
        self.extensions = 0;
        self.interim = 0;
        if let Side::Answers(asked) = &mut self.side {
            *asked = None;
        }
    }
}

fn no_body(announces: bool) -> Result<(), Defect> {
    if announces { Err(Defect::NoBody) } else { Ok(()) }
}

/// A head that is not whole yet and may still become so.
fn within(bytes: &[u8], most: usize) -> line::Read<usize> {
    if bytes.len() > most { Err(Defect::HeadTooLarge) } else { Ok(None) }
}

/// How many of `bytes` belong to what `left` more bytes are missing of, and how many are then.
fn count(bytes: &[u8], left: u64) -> (usize, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (length, left - length as u64)
}
