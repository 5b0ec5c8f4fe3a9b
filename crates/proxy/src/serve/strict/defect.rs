//! What makes a message read two ways.

/// Why a message is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Defect {
    Method = 1,
    Target,
    Version,
    Name,
    Value,
    LineEnd,
    TooManyFields,
    HeadTooLarge,
    NoHost,
    TwoHosts,
    Host,
    Length,
    TwoLengths,
    Coding,
    CodingTooOld,
    LengthAndCoding,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailers,
    Status,
    Unasked,
    Interim,
    NoBody,
}

impl Defect {
    const ALL: [Self; 24] = [
        Self::Method,
        Self::Target,
        Self::Version,
        Self::Name,
        Self::Value,
        Self::LineEnd,
        Self::TooManyFields,
        Self::HeadTooLarge,
        Self::NoHost,
        Self::TwoHosts,
        Self::Host,
        Self::Length,
        Self::TwoLengths,
        Self::Coding,
        Self::CodingTooOld,
        Self::LengthAndCoding,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::Trailers,
        Self::Status,
        Self::Unasked,
        Self::Interim,
        Self::NoBody,
    ];

    /// The one with this number.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| *defect as u8 == number)
    }

    /// Whether something is too large, and nothing unclear.
    pub(crate) const fn is_size(self) -> bool {
        matches!(self, Self::TooManyFields | Self::HeadTooLarge)
    }

    /// What is wrong, for people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Method => "the request does not begin with a method",
            Self::Target => "the target has a character that needs encoding, or names no path",
            Self::Version => "the first line does not end with HTTP/1.1 or HTTP/1.0",
            Self::Name => "a header has no name, or one that is not followed by its colon",
            Self::Value => "a header has a control character in its value",
            Self::LineEnd => "a line does not end with CR LF",
            Self::TooManyFields => "the head has too many fields",
            Self::HeadTooLarge => "the head is too large",
            Self::NoHost => "the request has no Host",
            Self::TwoHosts => "the request has two Host fields",
            Self::Host => "the host is not a host",
            Self::Length => "the Content-Length is not a plain number",
            Self::TwoLengths => "there are two Content-Length fields",
            Self::Coding => "the transfer encoding is not `chunked`",
            Self::CodingTooOld => "a transfer encoding outside HTTP/1.1",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::ChunkSize => "a chunk does not begin with its size",
            Self::ChunkExtension => "a chunk extension is too long, or has a control character",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::Trailers => "the trailers are too long, or no fields",
            Self::Status => "the answer does not begin with a status line",
            Self::Unasked => "there are bytes that answer no request",
            Self::Interim => "there are too many interim answers",
            Self::NoBody => "an answer without a body announces one",
        }
    }
}
