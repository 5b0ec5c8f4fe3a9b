//! Evens out what the kernel deals unevenly. With `SO_REUSEPORT` each connection lands on a core by
//! its hash: many spread well, but two long-lived HTTP/2 connections share one core half of the time.
//! A core that has clearly more of them than another hands a new one over, once, when it comes.

use std::{
    net::{IpAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

/// A connection on its way to another core.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Which of the listeners accepted it.
    pub(super) listener: usize,
    pub(super) stream: TcpStream,
    pub(super) ip: IpAddr,
    pub(super) seat: Seat,
}

/// The open connections of one core, and its door for those that others hand over.
#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    door: mpsc::UnboundedSender<Arrival>,
}

/// One open connection, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Room>);

impl Seat {
    fn take(room: &Arc<Room>) -> Self {
        room.taken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(room))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All cores, as one of them sees them.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    rooms: Arc<[Arc<Room>]>,
    own: Arc<Room>,
}

/// Makes the seats of `cores` cores: what each sees, and where it takes arrivals from.
pub(crate) fn seats(cores: usize) -> Vec<(Seats, mpsc::UnboundedReceiver<Arrival>)> {
    let (rooms, arrivals): (Vec<_>, Vec<_>) = (0..cores)
        .map(|_| {
            let (door, arrivals) = mpsc::unbounded_channel();
            (Arc::new(Room { taken: AtomicUsize::new(0), door }), arrivals)
        })
        .unzip();
    let rooms: Arc<[Arc<Room>]> = rooms.into();
    let own = rooms.iter().map(|own| Seats { rooms: Arc::clone(&rooms), own: Arc::clone(own) });
    own.zip(arrivals).collect::<Vec<_>>()
}

impl Seats {
    /// How many connections this core has, those on their way to it included.
    pub(crate) fn taken(&self) -> usize {
        self.own.taken.load(Ordering::Relaxed)
    }

    /// A seat here.
    pub(super) fn take(&self) -> Seat {
        Seat::take(&self.own)
    }

    /// A seat elsewhere, if this core has clearly more connections than that one: one more where
    /// there are few, an eighth more where there are many.
    pub(super) fn elsewhere(&self) -> Option<Seat> {
        let here = self.taken();
        let taken = |room: &&Arc<Room>| room.taken.load(Ordering::Relaxed);
        let room = self.rooms.iter().min_by_key(taken)?;
        (here > taken(&room) + here / 8).then(|| Seat::take(room))
    }

    /// Sends a connection to where its seat is; it comes back if nobody is there any more.
    pub(super) fn hand_over(arrival: Arrival) -> Result<(), Box<Arrival>> {
        let door = arrival.seat.0.door.clone();
        door.send(arrival).map_err(|unsent| Box::new(unsent.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_are_dealt_one_by_one_and_many_need_no_help() {
        let all = seats(2);
        let (one, other) = (&all[0].0, &all[1].0);
        assert!(one.elsewhere().is_none(), "nobody has any");
        let _first = one.take();
        let second = one.elsewhere().expect("the other core has none");
        assert_eq!((one.taken(), other.taken()), (1, 1));
        assert!(one.elsewhere().is_none());
        drop(second);
        assert_eq!(other.taken(), 0);
        let _many: Vec<_> = (0..99).map(|_| one.take()).collect();
        let _others: Vec<_> = (0..88).map(|_| other.take()).collect();
        assert!(one.elsewhere().is_none(), "100 and 88 is what chance does");
        let _more: Vec<_> = (0..5).map(|_| one.take()).collect();
        assert!(one.elsewhere().is_some(), "105 and 88 is more");
        assert!(other.elsewhere().is_none());
    }

    #[test]
    fn a_core_that_is_gone_sends_connections_back() {
        let mut all = seats(2);
        let (_, arrivals) = all.pop().unwrap();
        drop(arrivals);
        let (one, _arrivals) = all.pop().unwrap();
        let _first = one.take();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let seat = one.elsewhere().unwrap();
        let arrival = Arrival { listener: 0, stream, ip, seat };
        assert!(Seats::hand_over(arrival).is_err());
    }
}
