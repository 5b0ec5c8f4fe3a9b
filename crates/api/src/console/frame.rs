//! What stands around every page: who looks at it, where they can go, what has just been done.

use fluent_bundle::{FluentArgs, FluentValue};
use jiff::Timestamp;
use portcullis_control::views::Powers;
use portcullis_model::{GrantKind, PrincipalId, PrincipalKind};

use super::{
    assets,
    moment::{Left, Moment},
    shown::{Shown, plain},
    texts,
    theme::Theme,
};

/// A part of the console that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Home,
    Review,
    Requests,
    Live,
    Overview,
    Emergencies,
    Incidents,
    Record,
    Services,
    People,
    Policies,
    System,
}

impl Section {
    const ALL: &[Self] = &[
        Self::Home,
        Self::Review,
        Self::Requests,
        Self::Live,
        Self::Overview,
        Self::Emergencies,
        Self::Incidents,
        Self::Record,
        Self::Services,
        Self::People,
        Self::Policies,
        Self::System,
    ];

    /// Its address, the key of its name, and the letter that leads there after `g`.
    const fn facts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Home => ("/", "console-nav-home", "h"),
            Self::Overview => ("/overview", "console-nav-overview", "o"),
            Self::Live => ("/live", "console-nav-live", "l"),
            Self::Record => ("/record", "console-nav-record", "t"),
            Self::Services => ("/services", "console-nav-services", "s"),
            Self::People => ("/people", "console-nav-people", "p"),
            Self::Review => ("/review", "console-nav-review", "r"),
            Self::Requests => ("/requests", "console-nav-requests", "a"),
            Self::Emergencies => ("/emergencies", "console-nav-emergencies", "e"),
            Self::Incidents => ("/incidents", "console-nav-incidents", "i"),
            Self::Policies => ("/policies", "console-nav-policies", "y"),
            Self::System => ("/system", "console-nav-system", "m"),
        }
    }

    fn open_to(self, powers: Powers) -> bool {
        match self {
            Self::Home
            | Self::Requests
            | Self::Live
            | Self::Emergencies
            | Self::Incidents
            | Self::Services
            | Self::Policies => true,
            Self::Review => powers.reviews,
            Self::Overview | Self::Record => powers.reads_record,
            Self::People => powers.reads_record || powers.reviews,
            Self::System => powers.reads_record || powers.administers,
        }
    }
}

/// One entry of the navigation.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) address: &'static str,
    pub(crate) name: String,
    pub(crate) letter: &'static str,
    pub(crate) here: bool,
}

/// Everything of a page that is not its own.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) section: Option<Section>,
    /// What to call whoever looks; empty before a sign-in.
    pub(crate) name: String,
    /// The principal's id.
    pub(crate) principal: PrincipalId,
    pub(crate) csrf: String,
    pub(crate) powers: Powers,
    pub(crate) theme: Theme,
    pub(crate) now: Timestamp,
    /// What was done on the page before.
    pub(crate) said: Option<String>,
    /// This page with its query, to come back to.
    pub(crate) here: String,
    /// Everything on it is at least as new as this position of the record: what changed since is told by the feed.
    pub(crate) newest: Option<u64>,
}

impl Frame {
    /// Around a page for whoever is not signed in.
    pub(crate) fn of_nobody(theme: Theme, now: Timestamp) -> Self {
        Self {
            title: String::new(),
            section: None,
            name: String::new(),
            principal: PrincipalId::new(PrincipalKind::User, "", ""),
            csrf: String::new(),
            powers: Powers::default(),
            theme,
            now,
            said: None,
            here: "/".to_owned(),
            newest: None,
        }
    }

    pub(crate) fn is_signed_in(&self) -> bool {
        !self.name.is_empty()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let open = Section::ALL.iter().copied().filter(|section| section.open_to(self.powers));
        let entry = |section: Section| {
            let (address, name, letter) = section.facts();
            let here = self.section == Some(section);
            Entry { address, name: self.say(name), letter, here }
        };
        open.map(entry).collect()
    }

    /// The text called `key`.
    #[expect(clippy::unused_self, reason = "the frame will know the viewer's language")]
    pub(crate) fn say(&self, key: &str) -> String {
        texts::say(key, None)
    }

    /// The same with one argument.
    pub(crate) fn say_with(&self, key: &str, name: &str, value: impl Into<Argument>) -> String {
        self.say_all(key, [(name, value.into())])
    }

    /// The same with two.
    pub(crate) fn say_with2(
        &self,
        key: &str,
        first: &str,
        value: impl Into<Argument>,
        second: &str,
        other: impl Into<Argument>,
    ) -> String {
        self.say_all(key, [(first, value.into()), (second, other.into())])
    }

    #[expect(clippy::unused_self, reason = "the frame will know the viewer's language")]
    fn say_all<const N: usize>(&self, key: &str, given: [(&str, Argument); N]) -> String {
        let mut arguments = FluentArgs::new();
        for (name, value) in given {
            arguments.set(name.to_owned(), value.0);
        }
        texts::say(key, Some(&arguments))
    }

    /// What somebody else wrote.
    #[expect(clippy::unused_self, reason = "templates reach functions through the frame")]
    pub(crate) fn shown<'a>(&self, text: &'a (impl AsRef<str> + ?Sized)) -> Shown<'a> {
        Shown(text.as_ref())
    }

    pub(crate) fn at(&self, at: &Timestamp) -> Moment {
        Moment { at: *at, now: self.now }
    }

    pub(crate) fn left(&self, until: &Timestamp) -> Left {
        Left { until: *until, now: self.now }
    }

    /// The key of the text for a kind of grant.
    #[expect(
        clippy::unused_self,
        clippy::trivially_copy_pass_by_ref,
        reason = "templates reach functions through the frame, and pass references"
    )]
    pub(crate) fn kind_key(&self, kind: &GrantKind) -> &'static str {
        match kind {
            GrantKind::Automatic => "console-kind-automatic",
            GrantKind::Review => "console-kind-review",
            GrantKind::Emergency => "console-kind-emergency",
        }
    }

    /// The address of one of our own files.
    #[expect(clippy::unused_self, reason = "templates reach functions through the frame")]
    pub(crate) fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }
}

/// Something that a text is about. What is text is made plain: a sentence has no markup.
#[derive(Debug)]
pub(crate) struct Argument(FluentValue<'static>);

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self(FluentValue::String(plain(text).into()))
    }
}

impl From<&String> for Argument {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Argument {
            fn from(number: $kind) -> Self { Self(FluentValue::from(number)) }
        }
        impl From<&$kind> for Argument {
            fn from(number: &$kind) -> Self { Self(FluentValue::from(*number)) }
        }
        impl From<&&$kind> for Argument {
            fn from(number: &&$kind) -> Self { Self(FluentValue::from(**number)) }
        }
    )*};
}

numbers!(u8, u16, u32, u64, usize, i32, i64, f64);
