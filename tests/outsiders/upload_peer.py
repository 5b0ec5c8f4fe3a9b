"""An HTTP/2 client that uploads as fast as its windows allow.

    upload_peer.py beside HOST:PORT AUTHORITY TOKEN

Sends a body that never ends to `/stalled` until no more of it is taken, then a whole one to `/page` on the same
connection; prints `stalled after: BYTES` and `beside it: OUTCOME`.

    upload_peer.py alone HOST:PORT AUTHORITY TOKEN MEBIBYTES

Sends one body of that size to `/page`; prints `outcome: …` and `seconds: …`.
"""

import socket
import sys
import time

from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from frames_peer import ERRORS, Connection, request

PIECE = b"x" * 16384
# Whoever takes nothing more for so long is stalled. What comes of a mistake here is a weaker test, not a failed one.
STALLED = 2
PATIENCE = 60


class Uploads:
    """Bodies on one connection, and what may be sent of them."""

    def __init__(self, address, authority, token):
        self.connection = Connection(address)
        self.authority, self.token = authority, token
        self.initial = self.window = 65535
        self.streams = {}
        self.outcomes = {}

    def begin(self, stream, path, length):
        self.streams[stream] = self.initial
        head = request(self.authority, self.token, "POST", path)
        head.append(("content-length", str(length)))
        self.connection.write(self.connection.head(head, stream, end=False))

    def take(self, patience):
        """One frame; False if none comes in time."""
        self.connection.socket.settimeout(patience)
        try:
            frame = self.connection.frame()
        except TimeoutError:
            return False
        finally:
            self.connection.socket.settimeout(PATIENCE)
        if frame is None or isinstance(frame, GoAwayFrame):
            self.outcomes = dict.fromkeys(self.streams, "closed")
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            initial = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self.initial)
            for stream in self.streams:
                self.streams[stream] += initial - self.initial
            self.initial = initial
            self.connection.write(SettingsFrame(flags=["ACK"]).serialize())
        elif isinstance(frame, WindowUpdateFrame) and frame.stream_id == 0:
            self.window += frame.window_increment
        elif isinstance(frame, WindowUpdateFrame) and frame.stream_id in self.streams:
            self.streams[frame.stream_id] += frame.window_increment
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.connection.write(PingFrame(flags=["ACK"], opaque_data=frame.opaque_data).serialize())
        elif isinstance(frame, HeadersFrame):
            status = dict(self.connection.decoder.decode(frame.data)).get(":status")
            self.outcomes.setdefault(frame.stream_id, f"status {status}")
        elif isinstance(frame, RstStreamFrame):
            error = ERRORS.get(frame.error_code, frame.error_code)
            self.outcomes.setdefault(frame.stream_id, f"reset {error}")
        return True

    def send(self, stream, length, patience):
        """Sends so much; how much of it was taken before nothing more was for so long."""
        sent = 0
        while sent < length and stream not in self.outcomes:
            may = min(len(PIECE), length - sent, self.window, self.streams[stream])
            if may <= 0:
                if not self.take(patience):
                    break
                continue
            frame = DataFrame(stream, data=PIECE[:may])
            sent += may
            self.window -= may
            self.streams[stream] -= may
            if sent == length:
                frame.flags.add("END_STREAM")
            self.connection.write(frame.serialize())
        return sent

    def outcome(self, stream):
        while stream not in self.outcomes:
            if not self.take(PATIENCE):
                return "silent"
        return self.outcomes[stream]


def begun(address, authority, token):
    uploads = Uploads(address, authority, token)
    # The settings of the server, and the window that it gives the connection.
    while uploads.take(1) and uploads.initial == 65535:
        pass
    return uploads


def beside(address, authority, token):
    uploads = begun(address, authority, token)
    endless = 1 << 40
    uploads.begin(1, "/stalled", endless)
    print(f"stalled after: {uploads.send(1, endless, STALLED)}", flush=True)
    uploads.begin(3, "/page", 4 << 20)
    sent = uploads.send(3, 4 << 20, 20)
    outcome = uploads.outcome(3) if sent == 4 << 20 else f"stuck after {sent}"
    print(f"beside it: {outcome}", flush=True)


def alone(address, authority, token, size):
    uploads = begun(address, authority, token)
    length = int(size) << 20
    started = time.monotonic()
    uploads.begin(1, "/page", length)
    uploads.send(1, length, PATIENCE)
    print(f"outcome: {uploads.outcome(1)}", flush=True)
    print(f"seconds: {time.monotonic() - started:.3f}", flush=True)


if __name__ == "__main__":
    socket.setdefaulttimeout(PATIENCE)
    {"beside": beside, "alone": alone}[sys.argv[1]](*sys.argv[2:])
