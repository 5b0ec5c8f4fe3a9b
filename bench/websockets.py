"""A WebSocket echo and its load generator, on bare sockets: messages of 1 KiB, so that frames have one size.

`serve PORT`; `load PORT HOST TOKEN CONNECTIONS SECONDS` prints how many messages came back.
"""

import base64
import contextlib
import hashlib
import selectors
import socket
import sys
import time

SIZE = 1024
# Binary, final. From a client the payload is masked, here with zeros: it reads the same.
TO_SERVER = b"\x82\xfe" + SIZE.to_bytes(2, "big") + bytes(4) + b"x" * SIZE
TO_CLIENT = b"\x82\x7e" + SIZE.to_bytes(2, "big") + b"x" * SIZE
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"sixteen bytes ok")


def served(port: int) -> None:
    """Echoes until it is killed."""
    events = selectors.EpollSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    events.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in events.select():
            if key.data is None:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                events.register(client, selectors.EVENT_READ, [b"", False])
            else:
                echo(events, key.fileobj, key.data)


def echo(events, client: socket.socket, state: list) -> None:
    """Answers the handshake, then every whole frame."""
    try:
        data = client.recv(65536)
    except ConnectionError:
        data = b""
    if not data:
        events.unregister(client)
        client.close()
        return
    state[0] += data
    if not state[1]:
        if b"\r\n\r\n" not in state[0]:
            return
        head, state[0] = state[0].split(b"\r\n\r\n", 1)
        key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        state[1] = True
    whole = len(state[0]) // len(TO_SERVER)
    if whole:
        state[0] = state[0][whole * len(TO_SERVER):]
        with contextlib.suppress(ConnectionError):
            client.sendall(TO_CLIENT * whole)


def opened(port: int, host: str, token: str) -> socket.socket:
    """A connection after its handshake."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(f"GET /echo HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
                   f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        read = client.recv(1)
        assert read, head
        head += read
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


def load(port: int, host: str, token: str, connections: int, seconds: float) -> int:
    """Keeps one message in flight on each connection; says how many came back."""
    events = selectors.EpollSelector()
    for _ in range(connections):
        client = opened(port, host, token)
        client.sendall(TO_SERVER)
        events.register(client, selectors.EVENT_READ, [0])
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in events.select(0.1):
            data = key.fileobj.recv(65536)
            assert data, "a connection ended"
            key.data[0] += len(data)
            if key.data[0] >= len(TO_CLIENT):
                key.data[0] -= len(TO_CLIENT)
                done += 1
                key.fileobj.sendall(TO_SERVER)
    return done


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        served(int(sys.argv[2]))
    else:
        _, _, port, host, token, connections, seconds = sys.argv
        print(load(int(port), host, token, int(connections), float(seconds)))
