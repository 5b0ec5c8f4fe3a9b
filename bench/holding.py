"""From a reviewer's approval to the moment at which the request that waited has left the gate."""

import asyncio
import pathlib
import time

from . import revocation, subjects

WAITING = 256


def holding(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """256 requests wait; they are approved one by one. Milliseconds from the call to the upstream."""
    issuer = subjects.Issuer(folder)
    rows = []
    for number in range(rounds):
        arrived = {}
        port = noting_upstream(arrived)
        with subjects.portcullis(folder, subjects.Behind(), issuer, stream_port=port) as running:
            took = sorted(asyncio.run(approved(running, issuer, arrived)))
        rows.append({"subject": f"{WAITING} requests", "round": number, "p50_ms": took[len(took) // 2],
                     "p99_ms": took[int(len(took) * 0.99)], "last_ms": took[-1]})
    return rows


async def approved(running: subjects.Running, issuer: subjects.Issuer, arrived: dict) -> list[float]:
    """Sends the requests, approves each, and says how long each took from its approval to the upstream."""
    control = f"http://127.0.0.1:{running.control}"
    reviewer = await asyncio.to_thread(revocation.signed_in, control)
    tokens = issuer.tokens.read_text().split()
    clients = [await waiting(running.port, tokens[n % len(tokens)], n) for n in range(WAITING)]
    pending = []
    while len(pending) < WAITING:
        await asyncio.sleep(0.2)
        page = await asyncio.to_thread(
            revocation.call, f"{control}/v1/access-requests?filter=to-review&limit=500", reviewer, None, "GET")
        pending = page["access_requests"]
    took = []
    for request in pending:
        number = request["held"]["summary"].rsplit("/", 1)[1]
        started = time.perf_counter()
        review = f"{control}/v1/access-requests/{request['id']}/reviews"
        await asyncio.to_thread(revocation.call, review, reviewer, {"decision": "approve"})
        reader = clients[int(number)]
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        took.append((arrived[number] - started) * 1000)
    return took


async def waiting(port: int, token: str, number: int) -> asyncio.StreamReader:
    """A request that prefers to wait, with a body of 1 KiB."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /{number} HTTP/1.1\r\nHost: stream.example.com\r\nAuthorization: Bearer {token}\r\n"
                 f"Prefer: wait=300\r\nContent-Length: 1024\r\n\r\n{'x' * 1024}".encode())
    await writer.drain()
    reader.writer = writer
    return reader


def noting_upstream(arrived: dict, body: int = 1024) -> int:
    """A server that notes when each path came, with so many bytes of body, and answers; returns its port."""
    async def talk(reader, writer):
        while head := await head_of(reader):
            arrived[head.split(b" ")[1].decode().lstrip("/")] = time.perf_counter()
            await reader.readexactly(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    return revocation.serving(talk)


async def head_of(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
