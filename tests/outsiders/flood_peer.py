"""Clients that are there to keep a server busy, or to keep what it has.

    flood_peer.py once KIND HOST:PORT AUTHORITY TOKEN

Does it on one connection until that is ended, or for far too long; prints `outcome: …` and `sent: N`.

    flood_peer.py on KIND HOST:PORT AUTHORITY TOKEN CONNECTIONS

Does it on so many connections, again and again, until its input ends; prints `ready` once it is at it.
"""

import select
import socket
import ssl
import struct
import sys
import threading
import time

from hyperframe.frame import (
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from frames_peer import Connection, request

FAR_TOO_MUCH = 400_000


class Flood:
    """Frames over HTTP/2, as many as are taken."""

    def __init__(self, address, authority, token):
        self.connection = Connection(address)
        self.authority, self.token = authority, token
        self.sent = 0
        self.stream = 1

    def batch(self, kind):
        """A hundred of them."""
        connection, out = self.connection, []
        for _ in range(100):
            self.sent += 1
            if kind == "ping":
                out.append(PingFrame(0, opaque_data=struct.pack(">Q", self.sent)).serialize())
            elif kind == "settings":
                out.append(SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 4096}).serialize())
            elif kind == "priority":
                frame = PriorityFrame(2 * self.sent % 100_000 + 1, depends_on=0, stream_weight=self.sent % 200)
                out.append(frame.serialize())
            elif kind == "empty-data":
                if self.sent == 1:
                    out.append(connection.head(request(self.authority, self.token, method="POST"), 1, end=False))
                out.append(DataFrame(1, data=b"").serialize())
            elif kind == "unknown":
                out.append(b"\0\0\x02\x4d\0\0\0\0\0ab")
            elif kind == "window-update":
                out.append(WindowUpdateFrame(0, window_increment=1).serialize())
            else:
                head = connection.head(request(self.authority, self.token), self.stream)
                out.append(head)
                if kind == "rapid-reset":
                    out.append(RstStreamFrame(self.stream, error_code=8).serialize())
                elif kind == "made-you-reset":
                    # The gate has to reset the stream, and the client need not.
                    out.append(zero_window_update(self.stream))
                self.stream += 2
        return b"".join(out)


def zero_window_update(stream):
    frame = WindowUpdateFrame(stream, window_increment=1).serialize()
    return frame[:-4] + b"\0\0\0\0"


FRAMES = ["ping", "settings", "priority", "empty-data", "unknown", "window-update", "rapid-reset", "made-you-reset"]


def flood(kind, address, authority, token, most=FAR_TOO_MUCH):
    """One connection until it is ended: how, and after how many."""
    flood = Flood(address, authority, token)
    wire = flood.connection.socket
    ended = None
    while flood.sent < most and ended is None:
        data = flood.batch(kind)
        while data and ended is None:
            readable, writable, _ = select.select([wire], [wire], [], 20)
            if not readable and not writable:
                ended = "stuck"
            if readable:
                ended = drain(flood.connection)
            if writable and ended is None:
                try:
                    data = data[wire.send(data) :]
                except OSError:
                    ended = drain(flood.connection) or "closed"
    return ended or "served", flood.sent


def drain(connection):
    """What has been answered so far: how it ended, if it did."""
    try:
        more = connection.socket.recv(1 << 20)
    except OSError:
        return "closed"
    connection.buffer += more
    while len(connection.buffer) >= 9:
        length = int.from_bytes(connection.buffer[:3], "big")
        if len(connection.buffer) < 9 + length:
            break
        kind, payload = connection.buffer[3], connection.buffer[9 : 9 + length]
        connection.buffer = connection.buffer[9 + length :]
        if kind == 7:
            code = int.from_bytes(payload[4:8], "big")
            return {0: "goaway NO_ERROR", 1: "goaway PROTOCOL_ERROR", 11: "goaway ENHANCE_YOUR_CALM"}.get(
                code, f"goaway {code}"
            )
    return None if more else "closed"


def raw(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def head(authority, token, method, more=""):
    return (
        f"{method} /page HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n{more}"
    ).encode()


class Slow:
    """One connection that takes its time: what it begins with, and what it drips."""

    def __init__(self, kind, address, authority, token):
        self.drip = None
        if kind == "slow-read":
            wire = socket.socket()
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            host, port = address.rsplit(":", 1)
            wire.connect((host, int(port)))
            self.wire = wire
            self.wire.sendall((head(authority, token, "GET") + b"\r\n") * 20)
            return
        self.wire = raw(address)
        if kind == "slow-heads":
            self.wire.sendall(head(authority, token, "GET"))
            self.drip = b"X-a: b\r\n"
        elif kind == "slow-body":
            self.wire.sendall(head(authority, token, "POST", "Content-Length: 100000\r\n") + b"\r\n")
            self.drip = b"x"
        elif kind == "half-open":
            self.wire.sendall(b"\x16\x03\x01\x02\x00\x01")
            self.drip = b"\0"
        elif kind == "idle":
            pass

    def go_on(self):
        """Whether it is still open."""
        try:
            if self.drip is not None:
                self.wire.sendall(self.drip)
            if self.wire in select.select([self.wire], [], [], 0)[0] and self.drip is not None:
                return bool(self.wire.recv(65536))
            return True
        except OSError:
            return False


SLOW = ["slow-heads", "slow-body", "slow-read", "half-open", "idle"]


def h2_pause(address, authority, token, window=None):
    """Asks, takes what the window lets through, and then no more."""
    connection = Connection(address, window)
    connection.write(connection.head(request(authority, token)))
    connection.socket.settimeout(120)
    started, got = time.monotonic(), 0
    while (frame := connection.frame()) is not None:
        got += len(frame.data) if isinstance(frame, DataFrame) else 0
    print("outcome: closed" if got or window == 0 else "outcome: nothing", flush=True)
    print(f"sent: {time.monotonic() - started:.0f}", flush=True)


def h2_film(address, authority, token):
    """Takes nothing more of one answer, and another one bit by bit: until it is told to leave, and for a while after."""
    connection = Connection(address)
    for stream in (1, 3):
        connection.write(connection.head(request(authority, token), stream))
    # The window of the connection stays open: only one of the streams is paused.
    connection.write(WindowUpdateFrame(0, window_increment=1 << 30).serialize())
    connection.socket.settimeout(30)
    started, told, got = time.monotonic(), None, 0
    while told is None or time.monotonic() - told < 3:
        frame = connection.frame()
        if frame is None:
            print("outcome: closed", flush=True)
            print(f"sent: {got}", flush=True)
            return
        if frame.type == 7 and told is None:
            told = time.monotonic()
        if isinstance(frame, DataFrame) and frame.stream_id == 3:
            got += len(frame.data)
            time.sleep(0.05)
            connection.write(WindowUpdateFrame(3, window_increment=max(1, len(frame.data))).serialize())
        assert time.monotonic() - started < 120, "nobody tells it to leave"
    print("outcome: told", flush=True)
    print(f"sent: {got}", flush=True)


def once(kind, address, authority, token):
    if kind == "h2-film":
        return h2_film(address, authority, token)
    if kind == "h2-pause":
        return h2_pause(address, authority, token)
    if kind == "h2-nothing":
        return h2_pause(address, authority, token, window=0)
    if kind in FRAMES:
        outcome, sent = flood(kind, address, authority, token)
        print(f"outcome: {outcome}", flush=True)
        print(f"sent: {sent}", flush=True)
        return
    slow = Slow(kind, address, authority, token)
    started = time.monotonic()
    while slow.go_on() and time.monotonic() - started < 200:
        time.sleep(0.2)
    print("outcome: closed", flush=True)
    print(f"sent: {time.monotonic() - started:.0f}", flush=True)


def on(kind, address, authority, token, connections):
    count, over = int(connections), threading.Event()

    def frames():
        while not over.is_set():
            try:
                flood(kind, address, authority, token)
            except OSError:
                time.sleep(0.05)

    def strangers():
        while not over.is_set():
            try:
                with raw(address) as wire:
                    for _ in range(200):
                        wire.sendall(head(authority, "nobody", "GET") + b"\r\n")
                        wire.recv(65536)
            except OSError:
                time.sleep(0.05)

    def slow():
        open_ones = []
        while not over.is_set():
            open_ones = [one for one in open_ones if one.go_on()]
            try:
                while len(open_ones) < count and not over.is_set():
                    open_ones.append(Slow(kind, address, authority, token))
            except OSError:
                pass
            told.set()
            over.wait(0.5)

    told = threading.Event()
    if kind in SLOW:
        threading.Thread(target=slow, daemon=True).start()
        told.wait(60)
    else:
        for _ in range(count):
            threading.Thread(target=strangers if kind == "strangers" else frames, daemon=True).start()
        time.sleep(0.2)
    print("ready", flush=True)
    sys.stdin.read()
    over.set()


{"once": once, "on": on}[sys.argv[1]](*sys.argv[2:])
