//! How many connections each source has. Looked at when a connection comes and when it goes, never for a
//! request.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::bounds::Bounds;

/// Two connections that come at the same moment seldom meet.
const ROOMS: usize = 64;

/// The sources of a gate. Shared by all cores.
#[derive(Debug)]
pub(crate) struct Sources {
    bounds: Arc<Bounds>,
    hasher: foldhash::fast::RandomState,
    rooms: Box<[Mutex<Room>]>,
}

type Room = HashMap<IpAddr, Taken, foldhash::fast::RandomState>;

#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    connections: u32,
    handshakes: u32,
}

impl Sources {
    pub(crate) fn new(bounds: Arc<Bounds>) -> Arc<Self> {
        let rooms = (0..ROOMS).map(|_| Mutex::default()).collect();
        Arc::new(Self { bounds, hasher: foldhash::fast::RandomState::default(), rooms })
    }

    /// A connection from `ip`; `None` if its source has as many as it may.
    pub(super) fn come(self: &Arc<Self>, ip: IpAddr) -> Option<Guest> {
        let ip = ip.to_canonical();
        if self.bounds.many_clients.iter().any(|network| network.contains(&ip)) {
            return Some(Guest { sources: Arc::clone(self), source: None, shakes_hands: false });
        }
        let source = source(ip);
        let mut room = self.room(source);
        let taken = room.entry(source).or_default();
        if taken.connections >= self.bounds.connections_per_source {
            return None;
        }
        taken.connections += 1;
        Some(Guest { sources: Arc::clone(self), source: Some(source), shakes_hands: false })
    }

    fn room(&self, source: IpAddr) -> MutexGuard<'_, Room> {
        let number = usize::try_from(self.hasher.hash_one(source) >> 32).unwrap_or(0) % ROOMS;
        // INVARIANT: there are `ROOMS` rooms.
        #[expect(clippy::indexing_slicing, reason = "the number is a remainder")]
        self.rooms[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one address of IPv6 has all of its network.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// A connection, counted at its source until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    sources: Arc<Sources>,
    source: Option<IpAddr>,
    shakes_hands: bool,
}

impl Guest {
    /// Begins a handshake, unless its source has begun too many.
    pub(super) fn begin_handshake(&mut self) -> bool {
        let most = self.sources.bounds.handshakes_per_source;
        let begun = self.taken(|taken| {
            let begins = taken.handshakes < most;
            taken.handshakes += u32::from(begins);
            begins
        });
        self.shakes_hands = begun == Some(true);
        begun.unwrap_or(true)
    }

    /// The handshake is over.
    pub(super) fn end_handshake(&mut self) {
        if std::mem::take(&mut self.shakes_hands) {
            self.taken(|taken| taken.handshakes -= 1);
        }
    }

    fn taken<T>(&self, change: impl FnOnce(&mut Taken) -> T) -> Option<T> {
        let source = self.source?;
        Some(change(self.sources.room(source).entry(source).or_default()))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end_handshake();
        let Some(source) = self.source else { return };
        let mut room = self.sources.room(source);
        if let Some(taken) = room.get_mut(&source) {
            taken.connections -= 1;
            if taken.connections == 0 {
                room.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(bounds: Bounds) -> Arc<Sources> {
        Sources::new(Arc::new(bounds))
    }

    #[test]
    fn i01_a_source_has_so_many_connections_and_others_have_theirs() {
        let sources = sources(Bounds { connections_per_source: 2, ..Bounds::default() });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = sources.come(ip("192.0.2.1")).unwrap();
        let second = sources.come(ip("::ffff:192.0.2.1")).unwrap();
        assert!(sources.come(ip("192.0.2.1")).is_none(), "written otherwise, it is the same");
        assert!(sources.come(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(sources.come(ip("192.0.2.1")).is_some());
        let far =
            [sources.come(ip("2001:db8::1")).unwrap(), sources.come(ip("2001:db8::2")).unwrap()];
        assert!(sources.come(ip("2001:db8::3")).is_none(), "one network, one source");
        assert!(sources.come(ip("2001:db8:0:1::1")).is_some());
        let many: Vec<_> = (0..10).map(|_| sources.come(ip("127.0.0.1"))).collect();
        assert!(many.iter().all(Option::is_some), "an address that stands for many");
        drop(many);
        drop((second, far));
        assert!(sources.rooms.iter().all(|room| room.lock().unwrap().is_empty()));
    }

    #[test]
    fn i10_a_source_has_so_many_handshakes_under_way() {
        let sources = sources(Bounds { handshakes_per_source: 1, ..Bounds::default() });
        let ip = "192.0.2.1".parse().unwrap();
        let [mut first, mut second] = [sources.come(ip).unwrap(), sources.come(ip).unwrap()];
        assert!(first.begin_handshake());
        assert!(!second.begin_handshake());
        first.end_handshake();
        assert!(second.begin_handshake());
        drop(second);
        assert!(first.begin_handshake(), "who leaves has begun none");
    }
}
