//! The upstreams say what reached them: each is asked by a client that shares no code with it
//! beyond the HTTP library.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_testkit::upstream::{
    EchoUpstream, GrpcUpstream, RawUpstream, WebSocketUpstream, grpc::frame,
};

/// Sends bytes, and reads until the other side closes.
fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn http2(address: SocketAddr, path: &str, body: Bytes, timeout: &str) -> (Bytes, HeaderMap) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}{path}"))
        .header("grpc-timeout", timeout)
        .body(Full::new(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or(headers);
    (body.to_bytes(), trailers)
}

#[test]
fn the_echo_tells_order_case_and_body() {
    let echo = EchoUpstream::start();
    let answer = exchange(
        echo.address(),
        "POST /a%2Fb?c=d HTTP/1.1\r\nHOST: x\r\nb-Second: 2\r\nA-First: 1\r\nb-Second: 3\r\n\
         Content-Length: 3\r\nconnection: close\r\n\r\nabc",
    );
    let document: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(document["path"], "/a%2Fb");
    assert_eq!(document["query"], "c=d");
    assert_eq!(document["headers"][1], serde_json::json!(["b-Second", "2"]));
    assert_eq!(document["headers"][3], serde_json::json!(["b-Second", "3"]));
    assert_eq!(
        document["body"]["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let received = echo.requests().remove(0);
    assert_eq!(received.values("B-SECOND"), ["2", "3"]);
    assert_eq!(received.body, b"abc");
    assert!(echo.wire()[0].starts_with(b"POST /a%2Fb?c=d"));
}

#[test]
fn the_echo_sends_what_its_path_asks_for() {
    let echo = EchoUpstream::start();
    let ask = |path: &str| {
        exchange(
            echo.address(),
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
    };
    assert!(ask("/status/418").starts_with("HTTP/1.1 418"));
    assert!(ask("/status/204").ends_with("\r\n\r\n"));
    assert_eq!(ask("/bytes/40000").split("\r\n\r\n").nth(1).unwrap().len(), 40_000);
    let before = Instant::now();
    assert!(ask("/slow/150").starts_with("HTTP/1.1 200"));
    assert!(before.elapsed() >= Duration::from_millis(150));
}

#[test]
fn an_event_stream_is_counted_until_its_reader_is_gone() {
    let echo = EchoUpstream::start();
    let mut stream = TcpStream::connect(echo.address()).unwrap();
    stream.write_all(b"GET /sse HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = [0; 512];
    let mut seen = String::new();
    while !seen.contains("\"tick\": 2") {
        let read = stream.read(&mut answer).unwrap();
        seen.push_str(std::str::from_utf8(&answer[..read]).unwrap());
    }
    assert_eq!(echo.open_streams(), 1);
    drop(stream);
    eventually("the stream has ended", || echo.open_streams() == 0);
}

#[tokio::test]
async fn the_echo_speaks_http2_without_an_upgrade() {
    let echo = EchoUpstream::start();
    let (body, _) = http2(echo.address(), "/x", Bytes::from_static(b"abc"), "1S").await;
    assert!(std::str::from_utf8(&body).unwrap().contains("\"http2\":true"));
    assert_eq!(echo.requests()[0].body, b"abc");
}

#[test]
fn the_raw_upstream_answers_as_it_is_told() {
    let raw = RawUpstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut stream = TcpStream::connect(raw.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(raw.wire(), [b"GET / HTTP/1.1\r\n\r\n".to_vec()]);
}

#[tokio::test]
async fn the_websocket_echo_echoes_and_remembers() {
    let upstream = WebSocketUpstream::start();
    let stream = tokio::net::TcpStream::connect(upstream.address()).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async("ws://upstream/feed", stream).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
    assert_eq!((upstream.open(), upstream.messages()), (1, vec!["hello".to_owned()]));
    assert!(upstream.handshakes()[0].contains(&("host".to_owned(), "upstream".to_owned())));
    socket.close(None).await.unwrap();
    drop(socket);
    eventually("the socket is closed", || upstream.open() == 0);
}

#[tokio::test]
async fn the_grpc_echo_serves_all_kinds_of_calls() {
    let upstream = GrpcUpstream::start();
    let two: Bytes = [frame(b"one"), frame(b"two")].concat().into();
    for (method, body, answer) in [
        ("Unary", frame(b"one"), frame(b"one")),
        ("ServerStream", frame(b"x"), frame(b"x").repeat(5).into()),
        ("ClientStream", two.clone(), frame(b"onetwo")),
        ("Bidi", two.clone(), two),
    ] {
        let path = format!("/echo.Echo/{method}");
        let (echoed, trailers) = http2(upstream.address(), &path, body, "5S").await;
        assert_eq!(echoed, answer, "{method}");
        assert_eq!(trailers["grpc-status"], "0", "{method}");
    }
    let (_, trailers) = http2(upstream.address(), "/echo.Echo/Wait", frame(b"x"), "50m").await;
    assert_eq!(trailers["grpc-status"], "4");
    let (_, trailers) = http2(upstream.address(), "/other.Other/X", frame(b"x"), "5S").await;
    assert_eq!(trailers["grpc-status"], "12");
    assert_eq!(upstream.calls().len(), 6);
    eventually("no call is open", || upstream.open() == 0);
}
