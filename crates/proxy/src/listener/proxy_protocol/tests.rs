use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Version 2 with these addresses and further bytes.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

fn binary_of(source: IpAddr, further: &[u8]) -> Vec<u8> {
    let (family, mut rest) = match source {
        IpAddr::V4(ip) => (0x11, [ip.octets(), [10, 0, 0, 2]].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
    };
    rest.extend([0x30, 0x39, 0x01, 0xbb]);
    rest.extend(further);
    binary(1, family, &rest)
}

fn line_of(source: IpAddr) -> Vec<u8> {
    match source {
        IpAddr::V4(ip) => format!("PROXY TCP4 {ip} 10.0.0.2 12345 443\r\n"),
        IpAddr::V6(ip) => format!("PROXY TCP6 {ip} ::1 12345 443\r\n"),
    }
    .into_bytes()
}

/// What comes of `bytes`, and what is left on the socket; they arrive in pieces of `piece` bytes.
fn taken(bytes: &[u8], piece: usize) -> (Result<IpAddr, Defect>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let sending = async move {
            for piece in bytes.chunks(piece) {
                // Whoever closes early does not want the rest.
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
            client
        };
        let reading = async move {
            let found = read(&mut server, SENDER).await;
            let mut rest = Vec::new();
            if found.is_ok() {
                server.read_to_end(&mut rest).await.unwrap();
            }
            (found, rest)
        };
        tokio::join!(sending, reading).1
    })
}

#[test]
fn the_header_is_taken_to_the_byte_however_it_arrives() {
    let mapped: IpAddr = CLIENT.to_ipv6_mapped().into();
    let six: IpAddr = "2001:db8::7".parse().unwrap();
    let tlv = [4, 0, 3, 1, 2, 3];
    let sound = [
        (line_of(CLIENT.into()), CLIENT.into()),
        (line_of(six), six),
        (b"PROXY UNKNOWN\r\n".to_vec(), SENDER),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), SENDER),
        (binary_of(CLIENT.into(), b""), CLIENT.into()),
        (binary_of(CLIENT.into(), &tlv), CLIENT.into()),
        (binary_of(six, &tlv), six),
        (binary_of(mapped, b""), mapped),
        (binary(0, 0x00, b""), SENDER),
        (binary(0, 0x11, &[203, 0, 113, 7, 10, 0, 0, 2, 1, 1, 1, 1]), SENDER),
    ];
    let next = b"GET / HTTP/1.1\r\n\r\n";
    for (header, expected) in sound {
        for piece in [1, 7, 4096] {
            let (found, rest) = taken(&[&header[..], next].concat(), piece);
            assert_eq!(found.unwrap(), expected, "{}", header.escape_ascii());
            assert_eq!(rest, next, "{}", header.escape_ascii());
        }
    }
}

#[test]
fn what_does_not_say_whose_connection_it_is_is_refused() {
    let unsound: [&[u8]; 16] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"proxy TCP4 203.0.113.7 10.0.0.2 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.2 1 2\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.2 1 2\r\r\n",
        b"PROXY TCP4 203.0.113.7\r10.0.0.2 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.2 1\r\n",
        b"PROXY TCP4 203.0.113.007 10.0.0.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::7 10.0.0.2 1 2\r\n",
        b"PROXY TCP4  203.0.113.7 10.0.0.2 1 2\r\n",
        b"PROXY UDP4 203.0.113.7 10.0.0.2 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.2 1 65536\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.2 1 2",
        b"",
        b"P",
    ];
    for bytes in unsound {
        let (found, _) = taken(bytes, 4096);
        assert!(found.is_err(), "{}: {found:?}", bytes.escape_ascii());
    }
    let addresses = [203, 0, 113, 7, 10, 0, 0, 2, 1, 1, 1, 1];
    let other_version = {
        let mut header = binary_of(CLIENT.into(), b"");
        header[12] = 0x11;
        header
    };
    for header in [
        other_version,
        binary(2, 0x11, &addresses),
        binary(1, 0x41, &addresses),
        binary(1, 0x00, b""),
        binary(1, 0x12, &addresses),
        binary(1, 0x31, &[b'a'; 216]),
        binary(1, 0x11, &addresses[..11]),
        binary(1, 0x21, &addresses),
    ] {
        let (found, _) = taken(&header, 4096);
        assert!(found.is_err(), "{}: {found:?}", header.escape_ascii());
    }
}

#[test]
fn a_header_has_an_end() {
    let line = [b"PROXY UNKNOWN ", &[b'x'; 91][..], b"\r\n"].concat();
    assert_eq!(line.len(), LONGEST_LINE);
    assert_eq!(taken(&line, 4096).0.unwrap(), SENDER);
    let longer = [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat();
    assert!(matches!(taken(&longer, 4096).0, Err(Defect::TooLong)));
    assert!(matches!(taken(&longer, 1).0, Err(Defect::TooLong)));
    let room = LONGEST - FIXED - 12;
    let longest = binary_of(CLIENT.into(), &vec![0; room]);
    assert_eq!(taken(&longest, 4096).0.unwrap(), CLIENT);
    // Refused as soon as it says how long it is, and not when all of it is there.
    let longer = binary_of(CLIENT.into(), &vec![0; room + 1]);
    assert!(matches!(taken(&longer[..FIXED], 4096).0, Err(Defect::TooLong)));
}

#[test]
fn a_network_is_believed_in_either_spelling_of_its_addresses() {
    let senders = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    for (ip, expected) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("2001:db8::1", true),
        ("11.0.0.1", false),
        ("::ffff:11.0.0.1", false),
        ("2001:db9::1", false),
    ] {
        assert_eq!(believes(&senders, ip.parse().unwrap()), expected, "{ip}");
    }
    assert!(!believes(&[], SENDER));
}

proptest! {
    #[test]
    fn every_split_of_a_sound_header_ends_at_the_same_byte(
        four: [u8; 4], six: [u8; 16], is_six: bool, is_line: bool,
        further in prop::collection::vec(any::<u8>(), 0..300),
        next in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let ip = if is_six { IpAddr::from(six) } else { IpAddr::from(four) };
        let header = if is_line { line_of(ip) } else { binary_of(ip, &further) };
        for cut in 0..header.len() {
            prop_assert_eq!(end(&header[..cut]).unwrap(), None);
        }
        prop_assert_eq!(end(&[&header[..], &next].concat()).unwrap(), Some(header.len()));
        prop_assert_eq!(source(&header).unwrap(), Some(ip));
        // The library's own writer agrees about what version 2 looks like.
        let to = SocketAddr::new(ip, 1);
        let theirs = v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, (to, to),
        ).build().unwrap();
        prop_assert_eq!(end(&theirs).unwrap(), Some(theirs.len()));
        prop_assert_eq!(source(&theirs).unwrap(), Some(ip));
    }

    #[test]
    fn no_bytes_make_it_panic_or_read_too_far(
        bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..3_usize,
    ) {
        let bytes = [[&b""[..], LINE, SIGNATURE][start], &bytes].concat();
        if let Ok(Some(end)) = end(&bytes) {
            prop_assert!(end <= bytes.len() && end <= LONGEST);
            let _ = source(&bytes[..end]);
        }
    }
}
