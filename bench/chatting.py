"""From a button that a reviewer presses in Slack to the moment at which the request that waited has left the gate."""

import asyncio
import json
import pathlib
import sys
import time

from . import holding, revocation, subjects

PEER = subjects.HERE.parent / "tests/outsiders/slack_peer.py"
BOT, APP, SECRET = "xoxb-bench", "xapp-bench", "signing-bench"
RULE = """
@id("held.chat")
permit (principal is User in Group::"engineering", action == Action::"reviewByChat", resource is AccessRequest);
"""
LIMIT = 1 << 20


def chatting(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """256 requests wait; their buttons are pressed one by one. Milliseconds from the press to the upstream."""
    issuer = subjects.Issuer(folder)
    rows = []
    for number in range(rounds):
        for mode in ("HTTP", "Socket Mode"):
            arrived = {}
            port = holding.noting_upstream(arrived)
            took = sorted(asyncio.run(measured(folder, issuer, port, arrived, mode)))
            rows.append({"subject": f"{holding.WAITING} requests, {mode}", "round": number,
                         "p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)], "last_ms": took[-1]})
    return rows


async def measured(folder, issuer, port: int, arrived: dict, mode: str) -> list[float]:
    """Slack, Portcullis beside it, and the presses."""
    slack = await Slack.start()
    try:
        with subjects.portcullis(folder, subjects.Behind(), issuer, stream_port=port, rules=RULE,
                                 settings=slack.settings(folder, mode)) as running:
            if mode == "HTTP":
                await slack.order({"do": "callbacks", "port": running.control})
            else:
                await slack.until("connected")
            return await pressed(running, issuer, arrived, slack)
    finally:
        await slack.end()


async def pressed(running, issuer, arrived: dict, slack: "Slack") -> list[float]:
    """Sends the requests, presses each one's button, and says how long each took from there to the upstream."""
    control = f"http://127.0.0.1:{running.control}"
    await asyncio.to_thread(revocation.signed_in, control)
    tokens = issuer.tokens.read_text().split()
    clients = [await holding.waiting(running.port, tokens[n % len(tokens)], n) for n in range(holding.WAITING)]
    messages = [(await slack.until("posted"))["message"] for _ in range(holding.WAITING)]
    took = []
    for message in messages:
        number = json.dumps(message["blocks"]).split("POST /", 1)[1].split('"')[0].split("\\")[0]
        started = time.perf_counter()
        slack.say({"do": "press", "by": "eve", "action": "approve", "channel": message["channel"], "ts": message["ts"]})
        reader = clients[int(number)]
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        took.append((arrived[number] - started) * 1000)
        await slack.until("done")
    return took


class Slack:
    """The Slack of the end-to-end tests."""

    def __init__(self, process, port: int):
        self.process, self.port, self.unread = process, port, []

    @classmethod
    async def start(cls) -> "Slack":
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PEER), "0", BOT, APP, SECRET, limit=LIMIT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        line = (await process.stdout.readline()).decode()
        return cls(process, int(line.removeprefix("port ")))

    def settings(self, folder: pathlib.Path, mode: str) -> str:
        """The connector's part of the configuration."""
        for name, secret in (("bot", BOT), ("app", APP), ("signing", SECRET)):
            (folder / f"slack-{name}").write_text(secret)
        back = f'signing_secret: {{file: "{folder}/slack-signing"}}' if mode == "HTTP" else (
            f'app_token: {{file: "{folder}/slack-app"}}')
        return (f'connectors: {{slack: {{workspace: T024BE7LD, bot_token: {{file: "{folder}/slack-bot"}}, {back}, '
                f'people: {{provider: corp, email: verified}}, channel: "#access", direct_messages: false, '
                f'api: "http://127.0.0.1:{self.port}/api"}}}}\n')

    def say(self, order: dict) -> None:
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def order(self, order: dict) -> dict:
        self.say(order)
        return await self.until("done")

    async def until(self, what: str) -> dict:
        """The next of that kind that happened."""
        for at, got in enumerate(self.unread):
            if got["what"] == what:
                return self.unread.pop(at)
        while line := await self.process.stdout.readline():
            got = json.loads(line.removeprefix(b"got "))
            if got["what"] == what:
                return got
            self.unread.append(got)
        raise RuntimeError("Slack ended")

    async def end(self) -> None:
        self.process.kill()
        await self.process.wait()
