"""From a revocation to the last byte of every stream that the grant had opened."""

import asyncio
import json
import pathlib
import threading
import time
import urllib.request

from . import subjects

STREAMS = 1000


def revocation(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """1,000 live event streams under one grant; milliseconds from the revoke call to each stream's end."""
    issuer = subjects.Issuer(folder)
    stream_port = endless_upstream()
    rows = []
    for number in range(rounds):
        with subjects.portcullis(folder, subjects.Behind(), issuer, stream_port=stream_port) as running:
            ends = sorted(asyncio.run(cut(running)))
        rows.append({"subject": f"{STREAMS} streams", "round": number, "p50_ms": ends[len(ends) // 2],
                     "p99_ms": ends[int(len(ends) * 0.99)], "last_ms": ends[-1]})
    return rows


async def cut(running: subjects.Running) -> list[float]:
    """Opens the streams, revokes their grant, and waits for all of them to end."""
    control = f"http://127.0.0.1:{running.control}"
    token = await asyncio.to_thread(signed_in, control)
    gate_token = call(control + "/v1/sign-ins", token, {"audience": "gate"})["token"]
    asked = call(control + "/v1/access-requests", token,
                 {"queries": [{"operation": "stream.GET"}], "reason": "bench"})
    readers = [await opened(running.port, gate_token) for _ in range(STREAMS)]
    waiting = [asyncio.create_task(ended(reader)) for reader in readers]
    await asyncio.sleep(1)
    started = time.perf_counter()
    give_back = f"{control}/v1/grants/{asked['grants'][0]}/give-back"
    await asyncio.to_thread(call, give_back, token, None)
    return [(at - started) * 1000 for at in await asyncio.gather(*waiting)]


def signed_in(control: str) -> str:
    """Signs the one person of the issuer in; returns the control token."""
    begun = call(control + "/v1/device", None, {})
    token = None
    while token is None:
        time.sleep(1)
        token = call(control + "/v1/device/token", None, {"device_token": begun["device_token"]}).get("token")
    return token


async def opened(port: int, token: str) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /tail HTTP/1.1\r\nHost: stream.example.com\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    head = await reader.readuntil(b"data: open\n\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    reader.writer = writer
    return reader


async def ended(reader: asyncio.StreamReader) -> float:
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        pass
    return time.perf_counter()


def endless_upstream() -> int:
    """A server that sends one event and then nothing, for ever; returns its port."""
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: open\n\n")
        await writer.drain()
        await reader.read()
        writer.close()

    return serving(talk)


def serving(talk) -> int:
    """Serves with `talk` until the process ends; returns the port."""
    port = subjects.free_port()

    async def serve():
        server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=2048)
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    return port


def call(url: str, token: str | None, body: dict | None, method: str = "POST") -> dict:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else b""
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
        return json.loads(answer.read() or b"{}")
