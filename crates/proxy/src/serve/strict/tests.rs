use std::{io::IoSlice, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Asked, Defect, Strict,
    reader::{Reader, Step, Then},
};

fn request(head: &str) -> Step {
    Reader::of_requests().read(head.as_bytes())
}

#[track_caller]
fn refused(head: &str, defect: Defect) {
    assert_eq!(request(head), Step { sound: 0, then: Then::Refuse(defect) }, "{head:?}");
}

#[track_caller]
fn accepted(head: &str) {
    assert_eq!(request(head), Step { sound: head.len(), then: Then::More }, "{head:?}");
}

/// A request with these fields besides its host.
fn with(fields: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n")
}

#[test]
fn first_lines_have_one_form() {
    let line = |line: &str| format!("{line}\r\nHost: shop.test\r\n\r\n");
    for sound in [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "BREW /a?b%20c HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://shop.test/a HTTP/1.1",
        "GET HTTP://shop.test?a HTTP/1.1",
    ] {
        accepted(&line(sound));
    }
    for (wrong, defect) in [
        (" GET / HTTP/1.1", Defect::Method),
        ("\r\nGET / HTTP/1.1", Defect::Method),
        ("G@T / HTTP/1.1", Defect::Method),
        ("GET\t/ HTTP/1.1", Defect::Method),
        ("- * HTTP/1.1", Defect::Method),
        ("GET  / HTTP/1.1", Defect::Target),
        ("GET x HTTP/1.1", Defect::Target),
        ("GET * HTTP/1.1", Defect::Target),
        ("GET /a#b HTTP/1.1", Defect::Target),
        ("GET /\u{0} HTTP/1.1", Defect::Target),
        ("GET /\u{80} HTTP/1.1", Defect::Target),
        ("GET http://u@shop.test/ HTTP/1.1", Defect::Target),
        ("GET ftp://shop.test/ HTTP/1.1", Defect::Target),
        ("CONNECT /a HTTP/1.1", Defect::Target),
        ("GET /", Defect::Target),
        ("GET /  HTTP/1.1", Defect::Version),
        ("GET / HTTP/1.2", Defect::Version),
        ("GET / HTTP/2.0", Defect::Version),
        ("GET / http/1.1", Defect::Version),
        ("GET / HTTP/1.1 ", Defect::Version),
        ("GET / HTTP/1.1\n", Defect::Version),
    ] {
        refused(&line(wrong), defect);
    }
}

#[test]
fn a_request_has_one_host_that_is_one() {
    for host in
        ["shop.test", "SHOP.test:8080", "shop.test.", "127.0.0.1", "[::1]", "[::1]:80", "a_b"]
    {
        accepted(&format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n"));
    }
    for host in [
        "",
        "u@shop.test",
        "a,b",
        "a b",
        "a/b",
        "a:",
        "a:b",
        "a:123456",
        "[::1",
        "[]",
        "\u{e9}",
        "a#",
    ] {
        refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Defect::Host);
    }
    refused("GET / HTTP/1.1\r\n\r\n", Defect::NoHost);
    refused("GET / HTTP/1.0\r\nX: y\r\n\r\n", Defect::NoHost);
    refused(&with("hOsT: shop.test\r\n"), Defect::TwoHosts);
}

#[test]
fn lines_end_in_one_way_and_fields_have_one_form() {
    for sound in ["X:\r\n", "X:a\r\n", "X: \t a \t\r\n", "X_y.z: \u{fc}\r\n", "X: a\tb\r\n"] {
        accepted(&with(sound));
    }
    for (wrong, defect) in [
        ("X: a\n", Defect::LineEnd),
        ("X: a\rb\r\n", Defect::LineEnd),
        ("X: a\r\r\n", Defect::LineEnd),
        ("\n", Defect::LineEnd),
        ("X: a\u{0}b\r\n", Defect::Value),
        ("X: \u{7f}\r\n", Defect::Value),
        ("X: \u{b}a\r\n", Defect::Value),
        ("X : a\r\n", Defect::Name),
        (" folded\r\n", Defect::Name),
        ("X: a\r\n\tfolded\r\n", Defect::Name),
        (": a\r\n", Defect::Name),
        ("X\r\n", Defect::Name),
        ("X\u{0}: a\r\n", Defect::Name),
        ("(X): a\r\n", Defect::Name),
    ] {
        refused(&with(wrong), defect);
    }
}

#[test]
fn a_message_is_framed_in_one_way() {
    for (fields, body) in [
        ("Content-Length: 0\r\n", ""),
        ("Content-Length:\t3 \r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("transfer-encoding:CHUNKED\r\n", "3;a=\"b\"\r\nabc\r\n00\r\nX: y\r\n\r\n"),
    ] {
        accepted(&format!("{}{body}", with(fields)));
    }
    for length in [
        "",
        "+5",
        "-1",
        "0x5",
        "5,5",
        "5 5",
        "1_0",
        "05",
        "00",
        "18446744073709551621",
        "5;",
        "\u{664}",
    ] {
        refused(&with(&format!("Content-Length: {length}\r\n")), Defect::Length);
    }
    refused(&with("Content-Length: 5\r\nContent-Length: 5\r\n"), Defect::TwoLengths);
    for coding in [
        "xchunked",
        "chunked, identity",
        "gzip, chunked",
        "\"chunked\"",
        "chunked,",
        "",
        "identity",
        "chunked;a",
    ] {
        refused(&with(&format!("Transfer-Encoding: {coding}\r\n")), Defect::Coding);
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    refused(&with(&chunked.repeat(2)), Defect::Coding);
    refused(&with(&format!("{chunked}Content-Length: 5\r\n")), Defect::LengthAndCoding);
    refused(&with(&format!("Content-Length: 5\r\n{chunked}")), Defect::LengthAndCoding);
    refused(&with(chunked).replace("1.1", "1.0"), Defect::CodingTooOld);
}

#[test]
fn chunks_end_where_they_say() {
    let head = with("Transfer-Encoding: chunked\r\n");
    let extension = |length| format!("1;{}\r\na\r\n", "e".repeat(length));
    for (body, sound, defect) in [
        ("0x5\r\nhello", "", Defect::ChunkSize),
        ("+5\r\nhello", "", Defect::ChunkSize),
        ("5 \r\nhello", "", Defect::ChunkSize),
        ("\r\n", "", Defect::ChunkSize),
        ("00000000000000005\r\nhello", "", Defect::ChunkSize),
        ("5\nhello", "", Defect::ChunkSize),
        ("5;a\nb\r\nhello", "", Defect::LineEnd),
        ("5;a\rb\r\nhello", "", Defect::LineEnd),
        ("5;\u{0}\r\nhello", "", Defect::ChunkExtension),
        (&extension(300), "", Defect::ChunkExtension),
        (&extension(65536), "", Defect::ChunkExtension),
        ("5\r\nhelloXX", "5\r\nhello", Defect::ChunkEnd),
        ("5\r\nhello\n", "5\r\nhello", Defect::ChunkEnd),
        ("0\r\nXX\r\n", "0\r\n", Defect::Name),
        ("0\n\n", "", Defect::ChunkSize),
        ("0\r\n\n", "0\r\n", Defect::LineEnd),
        ("0\r\nX : y\r\n\r\n", "0\r\n", Defect::Name),
        (&format!("0\r\n{}", "X: y\r\n".repeat(66)), "0\r\n", Defect::Trailers),
        (&format!("0\r\nX: {}", "y".repeat(9000)), "0\r\n", Defect::Trailers),
    ] {
        let step = request(&format!("{head}{body}"));
        let expected = Step { sound: head.len() + sound.len(), then: Then::Break(defect) };
        assert_eq!(step, expected, "{body:?}");
    }
    let many = format!("{head}{}", extension(200).repeat(50));
    assert!(matches!(request(&many).then, Then::Break(Defect::ChunkExtension)));
}

#[test]
fn heads_have_limits() {
    accepted(&with(&"X: y\r\n".repeat(99)));
    refused(&with(&"X: y\r\n".repeat(100)), Defect::TooManyFields);
    accepted(&with(&format!("X: {}\r\n", "y".repeat(60_000))));
    refused(&with(&format!("X: {}\r\n", "y".repeat(70_000))), Defect::HeadTooLarge);
    refused(&format!("GET /{}", "a".repeat(70_000)), Defect::HeadTooLarge);
    refused(&"G".repeat(70_000), Defect::HeadTooLarge);
}

#[test]
fn nothing_is_read_behind_what_may_be_a_tunnel() {
    let upgrade = with("Upgrade: websocket\r\n");
    let all = format!("{upgrade}GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let mut reader = Reader::of_requests();
    let step = reader.read(all.as_bytes());
    assert_eq!(step, Step { sound: upgrade.len(), then: Then::Wait });
    let behind = &all.as_bytes()[upgrade.len()..];
    assert_eq!(reader.read(behind), Step { sound: 0, then: Then::Wait });
    reader.settle(false);
    assert_eq!(reader.read(behind), Step { sound: behind.len(), then: Then::More });
    let mut reader = Reader::of_requests();
    reader.read(upgrade.as_bytes());
    reader.settle(true);
    assert_eq!(reader.read(b"\x81\0\n\0"), Step { sound: 4, then: Then::More });
    let connect = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n";
    let step = request(&format!("{connect}GET /"));
    assert_eq!(step, Step { sound: connect.len(), then: Then::Nothing });
}

fn answer(asked: Asked, bytes: &str) -> Step {
    let mut reader = Reader::of_answers();
    reader.ask(asked);
    reader.read(bytes.as_bytes())
}

#[test]
fn answers_are_framed_in_one_way_too() {
    for (asked, sound) in [
        (Asked::Plain, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (Asked::Plain, "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (Asked::Plain, "HTTP/1.0 200 OK\r\n\r\nuntil it closes\n\0"),
        (Asked::Plain, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        (Asked::Plain, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (
            Asked::Plain,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (Asked::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (Asked::Upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02"),
    ] {
        assert_eq!(
            answer(asked, sound),
            Step { sound: sound.len(), then: Then::More },
            "{sound:?}"
        );
    }
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (asked, wrong, defect) in [
        (Asked::Plain, "hello", Defect::Status),
        (Asked::Plain, "HTTP/1.1 20\r\n\r\n", Defect::Status),
        (Asked::Plain, "HTTP/2.0 200 OK\r\n\r\n", Defect::Status),
        (Asked::Plain, "HTTP/1.1 200 OK\n\n", Defect::LineEnd),
        (Asked::Plain, &format!("{ok}X: a\nY: b\r\n\r\n"), Defect::LineEnd),
        (Asked::Plain, &format!("{ok}X : a\r\n\r\n"), Defect::Name),
        (Asked::Plain, &format!("{ok}{chunked}Content-Length: 2\r\n\r\n"), Defect::LengthAndCoding),
        (
            Asked::Plain,
            &format!("{ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\n"),
            Defect::TwoLengths,
        ),
        (Asked::Plain, &format!("HTTP/1.0 200 OK\r\n{chunked}\r\n"), Defect::CodingTooOld),
        (Asked::Plain, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", Defect::Unasked),
        (Asked::Plain, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", Defect::NoBody),
        (Asked::Plain, "HTTP/1.1 304 Not Modified\r\n\r\nok", Defect::Unasked),
        (Asked::Head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Defect::Unasked),
        (Asked::Plain, "HTTP/1.1 101 Switching Protocols\r\n\r\n", Defect::Unasked),
        (Asked::Plain, "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\n", Defect::NoBody),
    ] {
        assert_eq!(answer(asked, wrong), Step { sound: 0, then: Then::Break(defect) }, "{wrong:?}");
    }
    let storm = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(65);
    assert!(matches!(answer(Asked::Plain, &storm).then, Then::Break(Defect::Interim)));
    let second = format!("{ok}Content-Length: 2\r\n\r\n");
    let step = answer(Asked::Plain, &format!("{second}ok{second}ok"));
    assert_eq!(step, Step { sound: second.len() + 2, then: Then::Break(Defect::Unasked) });
    assert!(matches!(
        Reader::of_answers().read(b"HTTP/1.1 200").then,
        Then::Break(Defect::Unasked)
    ));
}

#[tokio::test]
async fn what_is_gathered_is_written_whole_however_little_is_taken_at_a_time() {
    for length in [5, super::MOST_COPIED, 3 * super::MOST_COPIED] {
        let (near, mut far) = tokio::io::duplex(7);
        let (head, body) = (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'b'; length]);
        let sent = [head.clone(), body.clone()].concat();
        let writing = async move {
            let mut strict = Strict::of_requests(near, Arc::default());
            let mut parts = [IoSlice::new(&head), IoSlice::new(&body)];
            let mut left = &mut parts[..];
            while !left.is_empty() {
                let written = strict.write_vectored(left).await.unwrap();
                assert!(written > 0);
                IoSlice::advance_slices(&mut left, written);
            }
        };
        let mut seen = Vec::new();
        let ((), read) = tokio::join!(writing, far.read_to_end(&mut seen));
        assert!(read.is_ok() && seen == sent, "{length} bytes");
    }
}
