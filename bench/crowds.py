"""Many connections that do nothing, or next to nothing: what they cost, and whom they disturb."""

import contextlib
import pathlib
import resource
import socket
import threading
import time

from . import measure, others, revocation, subjects, websockets, wire

# A gate holds two descriptors for each; the count is as many as this machine lets one process have, with some to spare.
DESCRIPTORS = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 25_000)
WEBSOCKETS = min((DESCRIPTORS - 1500) // 2, 10_000)
SLOW = 5000
INBOXES = 200


def idle_websockets(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """Memory of the whole process with idle plain WebSockets open, and what 10,000 come to."""
    rows = []
    issuer = subjects.Issuer(folder)
    cases = {"portcullis": subjects.portcullis, "nginx": others.nginx, "envoy": others.envoy_plain}
    with many_descriptors(), wire.all_upstreams(folder) as behind:
        for number in range(rounds):
            for subject, start in cases.items():
                with start(folder, behind, issuer) as running, contextlib.ExitStack() as open_:
                    idle = measure.resident_kib(running.pid)
                    for _ in range(WEBSOCKETS):
                        client = websockets.opened(running.port, "echo.example.com", wire.first_token(issuer))
                        open_.callback(client.close)
                        client.sendall(websockets.TO_SERVER)
                        while client.recv(65536)[-1:] != b"x":
                            pass
                    time.sleep(2)
                    full = measure.resident_kib(running.pid)
                rows.append({"subject": subject, "round": number, "connections": WEBSOCKETS, "all_mib": full / 1024,
                             "kib_per_connection": (full - idle) / WEBSOCKETS,
                             "mib_of_10000": (idle + (full - idle) / WEBSOCKETS * 10_000) / 1024})
    return rows


def inboxes(folder: pathlib.Path, rounds: int, seconds: int) -> list[dict]:
    """Share of one core that open review pages cost while nothing happens: each follows `/v1/events`."""
    rows = []
    issuer = subjects.Issuer(folder)
    for number in range(rounds):
        with subjects.portcullis(folder, subjects.Behind(), issuer) as running, contextlib.ExitStack() as open_:
            token = revocation.signed_in(f"http://127.0.0.1:{running.control}")
            for count in (0, INBOXES):
                for _ in range(count):
                    client = open_.enter_context(socket.create_connection(("127.0.0.1", running.control)))
                    client.sendall(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                    head = client.recv(65536)
                    assert head.startswith(b"HTTP/1.1 200"), head
                time.sleep(3)
                before, began = measure.cpu_seconds(running.pid), time.monotonic()
                time.sleep(max(seconds, 20))
                share = (measure.cpu_seconds(running.pid) - before) / (time.monotonic() - began)
                rows.append({"subject": f"{count} inboxes", "round": number, "core_percent": share * 100})
    return rows


def slow_loris(folder: pathlib.Path, rounds: int, seconds: int) -> list[dict]:
    """CPU per served request without and with 5,000 clients who send their heads a byte at a time."""
    rows = []
    issuer = subjects.Issuer(folder)
    with many_descriptors(), wire.all_upstreams(folder) as behind:
        for number in range(rounds):
            with subjects.portcullis(folder, behind, issuer) as running:
                for subject in ("nobody else", f"{SLOW} slow clients"):
                    with slow_clients(running.port, 0 if subject == "nobody else" else SLOW):
                        figures = wire.cost(folder, running, issuer, wire.http1, seconds)
                    rows.append({"subject": subject, "round": number, **figures})
    return rows


@contextlib.contextmanager
def slow_clients(port: int, count: int):
    """Keeps `count` connections with an unfinished head open; each sends a byte every ten seconds, and comes again when closed."""
    over = threading.Event()

    def opened() -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET /1k HTTP/1.1\r\nX-Slow: ")
        return client

    clients = [opened() for _ in range(count)]

    def drip():
        while not over.is_set():
            for number, client in enumerate(clients):
                try:
                    client.sendall(b"x")
                except OSError:
                    with contextlib.suppress(OSError):
                        clients[number] = opened()
                if over.wait(10 / len(clients)):
                    return

    dripping = threading.Thread(target=drip, daemon=True)
    if clients:
        dripping.start()
    try:
        yield
    finally:
        over.set()
        if clients:
            dripping.join()
        for client in clients:
            client.close()


@contextlib.contextmanager
def many_descriptors():
    """Lets this process, and those that it starts, open as many files as the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


ALL = {"inboxes": inboxes, "idle_websockets": idle_websockets, "slow_loris": slow_loris}
