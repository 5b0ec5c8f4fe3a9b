"""A WebSocket server and client, by Python's `websockets`.

    websocket_peer.py serve PORT
    websocket_peer.py check GATE_ADDRESS HOST TOKEN      exits 0 and prints `ok` if everything held
    websocket_peer.py local ADDRESS                      the same at a local endpoint, with no token and no other host
    websocket_peer.py stream GATE_ADDRESS HOST TOKEN     an idle connection: prints `open`, then how it was closed
    websocket_peer.py ticks GATE_ADDRESS HOST TOKEN      one with a message every 20 ms: the same
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def handler(socket):
    headers = socket.request.headers
    await socket.send("authorization" if "Authorization" in headers else "no credentials")
    if socket.request.path == "/ticks":
        while True:
            await socket.send("tick " + "x" * 3000)
            await asyncio.sleep(0.02)
    async for message in socket:
        await socket.send(message)


async def serve(port: str) -> None:
    async with listen(handler, "127.0.0.1", int(port), max_size=None):
        await asyncio.Future()


def through(gate: str, host: str, token: str | None, path: str):
    address, port = gate.split(":")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(f"ws://{host}{path}", host=address, port=int(port), additional_headers=headers,
                   max_size=None, proxy=None)


async def check(gate: str, host: str, token: str) -> None:
    await echoes(through(gate, host, token, "/echo"))
    for other, status in [(None, 401), ("nonsense", 401)]:
        try:
            async with through(gate, host, other, "/echo"):
                raise AssertionError("it opened")
        except InvalidStatus as refused:
            assert refused.response.status_code == status, refused.response.status_code
    print("ok")


async def local(address: str) -> None:
    """Through a local endpoint; a page of elsewhere may not."""
    await echoes(connect(f"ws://{address}/echo", max_size=None, proxy=None))
    try:
        async with connect(f"ws://{address}/echo", origin="https://evil.example.com", proxy=None):
            raise AssertionError("it opened")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused.response.status_code
    print("ok")


async def echoes(connecting) -> None:
    async with connecting as socket:
        assert await socket.recv() == "no credentials"
        for message in ["hello", "", "ä" * 1000, os.urandom(70_000), "x" * 1_000_000]:
            await socket.send(message)
            assert await socket.recv() == message
        waiter = await socket.ping()
        await asyncio.wait_for(waiter, 5)
    assert socket.close_code == 1000, socket.close_code


async def stream(gate: str, host: str, token: str, path: str) -> None:
    async with through(gate, host, token, path) as socket:
        assert await socket.recv() == "no credentials"
        print("open", flush=True)
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            received = closed.rcvd
            code, reason = (received.code, received.reason) if received else (1006, "")
            print(f"closed: {code}: {reason}", flush=True)


def main() -> None:
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    elif sys.argv[1] == "local":
        asyncio.run(local(sys.argv[2]))
    elif sys.argv[1] == "check":
        asyncio.run(check(*sys.argv[2:5]))
    else:
        asyncio.run(stream(*sys.argv[2:5], {"stream": "/echo", "ticks": "/ticks"}[sys.argv[1]]))


if __name__ == "__main__":
    main()
