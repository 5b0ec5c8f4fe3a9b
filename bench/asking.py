"""From asking for what policy grants by itself to the moment at which the first request has left the gate."""

import asyncio
import json
import os
import pathlib
import subprocess
import time

from . import holding, measure, revocation, subjects

BY_API, BY_COMMAND = 200, 50


def asking(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """Milliseconds from the call, and from the start of `portcullis ask`, to the request at its upstream."""
    issuer = subjects.Issuer(folder)
    rows = []
    for number in range(rounds):
        arrived = {}
        port = holding.noting_upstream(arrived, body=0)
        with subjects.portcullis(folder, subjects.Behind(), issuer, stream_port=port) as running:
            asker = Asker(folder, running, arrived)
            for subject, ask, count in (("by the API", asker.by_api, BY_API), ("by the command", asker.by_command, BY_COMMAND)):
                took = sorted(asyncio.run(asker.first_requests(ask, count)))
                rows.append({"subject": subject, "round": number, "p50_ms": took[len(took) // 2],
                             "p99_ms": took[int(len(took) * 0.99)], "last_ms": took[-1]})
    return rows


class Asker:
    """Somebody who is signed in, with a connection to the gate and a profile of the command line."""

    def __init__(self, folder: pathlib.Path, running: subjects.Running, arrived: dict):
        self.running, self.arrived, self.count = running, arrived, 0
        self.control = f"http://127.0.0.1:{running.control}"
        self.token = revocation.signed_in(self.control)
        self.gate_token = revocation.call(self.control + "/v1/sign-ins", self.token, {"audience": "gate"})["token"]
        profile = folder / "home/profiles/default.json"
        profile.parent.mkdir(parents=True, exist_ok=True)
        profile.write_text(json.dumps({"url": self.control, "token": self.token}))
        profile.chmod(0o600)
        self.environment = {**os.environ, "PORTCULLIS_HOME": str(folder / "home"), "NO_COLOR": "1"}

    def by_api(self) -> None:
        """One call."""
        body = {"queries": [{"operation": "stream.GET"}], "reason": "bench"}
        asked = revocation.call(self.control + "/v1/access-requests", self.token, body)
        assert asked["state"] == "approved", asked

    def by_command(self) -> None:
        """`portcullis ask`, from the start of its process to its end, on the core of the clients."""
        command = ["taskset", "-c", measure.CLIENT_CORE, str(subjects.BINARY), "ask", "stream.GET", "--reason", "bench"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr

    async def first_requests(self, ask, count: int) -> list[float]:
        """Asks, sends one request, gives the grant back; so many times."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.running.port)
        took = []
        for _ in range(count):
            refused = await self.get(reader, writer)
            assert refused.startswith(b"HTTP/1.1 403"), refused
            started = time.perf_counter()
            await asyncio.to_thread(ask)
            passed = await self.get(reader, writer)
            assert passed.startswith(b"HTTP/1.1 200"), passed
            took.append((self.arrived[str(self.count)] - started) * 1000)
            await asyncio.to_thread(self.give_back)
        writer.close()
        return took

    async def get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        self.count += 1
        writer.write(f"GET /{self.count} HTTP/1.1\r\nHost: stream.example.com\r\n"
                     f"Authorization: Bearer {self.gate_token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        return head

    def give_back(self) -> None:
        grants = revocation.call(self.control + "/v1/grants", self.token, None, "GET")["grants"]
        held = next(grant for grant in grants if grant["state"] == "in_force")
        revocation.call(f"{self.control}/v1/grants/{held['id']}/give-back", self.token, None)
