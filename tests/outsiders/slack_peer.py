"""Slack, as a program that knows nothing of this one and checks what Slack checks.

    slack_peer.py PORT BOT_TOKEN APP_TOKEN SIGNING_SECRET

Built from what Slack publishes, and what of it is checked here:

- slackapi/slack-api-specs, web-api/slack_web_openapi_v2.json, version 1.7.0 (commit bc08db4, 2021-09-07): the methods,
  tokens as bearers, which methods take JSON and which forms, the error codes (`channel_not_found`, `is_archived`,
  `is_inactive`, `message_not_found`, `cant_update_message`, `no_text`, `ratelimited`, ...), `Retry-After`.
- slackapi/node-slack-sdk, packages/types/src/block-kit (commit 4322e14, 2026-08-21): which members blocks, elements and
  composition objects need, and how long each may be.
- slackapi/node-slack-sdk, packages/socket-mode (the same commit), and "Implementing Socket Mode" (api.slack.com, as it was
  in July 2025): `hello`, a URL that is good for one connection, envelopes that are acknowledged by their id and come again
  if they are not, `disconnect` before a connection ends.
- slackapi/bolt-python, docs/english/concepts/acknowledge.md (commit a2f21ae, 2026-07-20): three seconds.
- "Rate limits" (docs.slack.dev, as it was in July 2025): a message a second to a channel with short bursts, `chat.update`
  and `users.lookupByEmail` in tier 3, `users.info` in tier 4, an answer of 429 with `Retry-After`.
- "Handling user interaction" (api.slack.com, as it was in July 2025): five answers to a `response_url` in half an hour.
- slackapi/bolt-js, issue 2509 (2025-04): blocks of more than some 13,200 characters are `msg_blocks_too_long`.
- slack-sdk 3.47.0 for Python, Slack's own: signs callbacks (`v0`), and looks at blocks once more.

Prints `port N`, then `got {...}` for each thing that happened. Each line on standard input is a JSON object that
says what somebody does there; it is answered by `got {"what": "done", ...}`.
"""

import asyncio
import json
import re
import secrets
import sys
import time
import urllib.parse

from slack_sdk.models.blocks import Block
from slack_sdk.signature import SignatureVerifier
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

WORKSPACE, APP, BOT = "T024BE7LD", "A024BE7LD", "B024BE7LD"
PATIENCE = 3.0
LONGEST_BLOCKS = 13_200
# So many at once, and so many a second after that; by method, of messages by method and channel.
RATES = {"chat.postMessage": (5, 1.0), "chat.update": (50, 50 / 60), "users.lookupByEmail": (50, 50 / 60),
         "users.info": (100, 100 / 60)}
CHANNELS = {"#payments": "C024BE91L", "#access": "C024BE92M", "#incident-7": "C024BE93N", "#archived": "C024BE94P"}
MEMBERS = {
    name: {"id": f"U{name.upper():0<8}", "team_id": WORKSPACE, "name": name, "deleted": False, "is_bot": False,
           "is_email_confirmed": True, "profile": {"email": f"{name}@example.com", "real_name": name.title()}}
    for name in ("ana", "ben", "eve", "lea", "leo", "mia", "sam")
}
WRITE = {"chat.postMessage", "chat.update"}
READ = {"auth.test", "users.info", "users.lookupByEmail", "apps.connections.open"}
STATE = {"down": False, "limits": {}, "callbacks": None, "messages": {}, "hooks": {}, "sockets": [], "acks": {},
         "errors": {}, "count": 0, "archived": {"#archived"}, "tickets": set(), "eager": None}
BUCKETS = {}


def tell(**what):
    print("got " + json.dumps(what), flush=True)


class Wrong(Exception):
    """An error code of Slack's."""


def need(holds, code, why=""):
    if not holds:
        raise Wrong(f"{code}: {why}" if why else code)


def plain(text, most, why):
    need(isinstance(text, dict) and text.get("type") == "plain_text", "invalid_blocks", why)
    need(0 < len(text.get("text", "")) <= most, "invalid_blocks", f"{why}: {len(text.get('text', ''))}")
    need(text.get("emoji") is False, "invalid_blocks", f"{why}: emoji are on")


def throttled(name, arguments):
    """For how many seconds Slack takes no more, if it does not take this."""
    most, rate = RATES.get(name, (1000, 1000.0))
    key = name, arguments.get("channel") if name == "chat.postMessage" else None
    now = time.monotonic()
    left, at = BUCKETS.get(key, (most, now))
    left = min(most, left + (now - at) * rate)
    BUCKETS[key] = (left - 1 if left >= 1 else left), now
    return None if left >= 1 else max(1, round((1 - left) / rate + 0.5))


def element(one, seen):
    need(len(one.get("action_id", "")) <= 255, "invalid_blocks", "action_id")
    need(one.get("action_id") not in seen, "invalid_blocks", "action_id twice")
    seen.add(one.get("action_id"))
    if one["type"] == "button":
        plain(one["text"], 75, "button")
        need(0 < len(one["value"]) <= 2000, "invalid_blocks", "value of a button")
        need(one.get("style", "primary") in ("primary", "danger"), "invalid_blocks", "style")
    elif one["type"] == "static_select":
        plain(one["placeholder"], 150, "placeholder")
        need(0 < len(one["options"]) <= 100, "invalid_blocks", "options")
        for option in one["options"]:
            plain(option["text"], 75, "option")
            need(0 < len(option["value"]) <= 75, "invalid_blocks", "value of an option")
        if "confirm" in one:
            for part, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
                plain(one["confirm"][part], most, part)
    else:
        need(one["type"] == "plain_text_input" and 1 <= one.get("max_length", 1) <= 3000, "invalid_blocks", one["type"])


def rich(one):
    need(one["type"] in ("rich_text_section", "rich_text_quote", "rich_text_preformatted"), "invalid_blocks", one["type"])
    need(one["elements"], "invalid_blocks", "nothing in rich text")
    for part in one["elements"]:
        need(part["type"] in ("text", "link"), "invalid_blocks", part["type"])
        need(part["type"] != "text" or part["text"], "invalid_blocks", "an empty text")
        need(part["type"] != "link" or part["url"].startswith("http"), "invalid_blocks", "a link")


def checked(message):
    """What Slack wants of a message."""
    need(message.get("text"), "no_text")
    need(len(message["text"]) <= 40000, "msg_too_long")
    blocks = message.get("blocks", [])
    need(len(blocks) <= 50, "invalid_blocks", "too many")
    seen = set()
    for block in blocks:
        need(len(block.get("block_id", "")) <= 255, "invalid_blocks", "block_id")
        if block["type"] == "header":
            plain(block["text"], 150, "header")
        elif block["type"] == "rich_text":
            [rich(one) for one in block["elements"]]
        elif block["type"] == "actions":
            need(0 < len(block["elements"]) <= 25, "invalid_blocks", "elements")
            [element(one, seen) for one in block["elements"]]
        elif block["type"] == "input":
            plain(block["label"], 2000, "label")
            element(block["element"], seen)
        else:
            raise Wrong("invalid_blocks: " + block["type"])
    for block in Block.parse_all(blocks):
        block.validate_json()
    need(len(json.dumps(blocks, ensure_ascii=False)) <= LONGEST_BLOCKS, "msg_blocks_too_long")


def by_id(members, wanted):
    return next((one for one in members if one["id"] == wanted), None)


def posted(arguments):
    checked(arguments)
    place = arguments["channel"]
    member = by_id(MEMBERS.values(), place)
    channel = "D" + place[1:] if member else CHANNELS.get(place, place if place in CHANNELS.values() else None)
    need(channel, "channel_not_found")
    need(place not in STATE["archived"], "is_archived")
    STATE["count"] += 1
    ts = f"{int(time.time())}.{STATE['count']:06}"
    message = {**arguments, "channel": channel, "ts": ts}
    STATE["messages"][channel, ts] = message
    tell(what="posted", place=place, message=message)
    return {"channel": channel, "ts": ts}


def updated(arguments):
    checked(arguments)
    at = arguments["channel"], arguments["ts"]
    need(at[0][0] in "CDG", "channel_not_found")
    need(at in STATE["messages"], "message_not_found")
    need(not any(CHANNELS[name] == at[0] for name in STATE["archived"]), "is_inactive")
    STATE["messages"][at] = arguments
    tell(what="updated", message=arguments)
    return {"channel": at[0], "ts": at[1]}


def method(name, headers, body):
    """One call of the Web API: its status, further headers and answer."""
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if STATE["down"]:
        return 503, {}, {}
    limited = STATE["limits"].get(name)
    if limited and time.monotonic() < limited[0]:
        limited[1] += 1
        tell(what="limited", method=name, times=limited[1])
        left = str(max(1, round(limited[0] - time.monotonic() + 0.5)))
        return 429, {"Retry-After": left}, {"ok": False, "error": "ratelimited"}
    try:
        need(name in WRITE | READ, "unknown_method")
        need(token, "not_authed")
        need(token == sys.argv[3 if name == "apps.connections.open" else 2], "invalid_auth")
        wanted = STATE["errors"].get(name)
        if wanted and wanted["of"] in (None, json.loads(body).get("channel")):
            raise Wrong(STATE["errors"].pop(name)["code"])
        kind = headers.get("content-type", "")
        if name in WRITE:
            need(kind == "application/json; charset=utf-8", "missing_charset")
            arguments = json.loads(body)
        else:
            # These read no JSON: arguments in one would not be seen.
            need(not kind or kind == "application/x-www-form-urlencoded", "invalid_form_data")
            arguments = dict(urllib.parse.parse_qsl(body.decode()))
        if rest := throttled(name, arguments):
            tell(what="throttled", method=name, rest=rest)
            return 429, {"Retry-After": str(rest)}, {"ok": False, "error": "ratelimited"}
        return 200, {}, {"ok": True, **answer(name, arguments)}
    except Wrong as error:
        code = str(error).split(":")[0]
        tell(what="wrong", method=name, code=code, why=str(error))
        return 200, {}, {"ok": False, "error": code}


def answer(name, arguments):
    if name == "auth.test":
        return {"team_id": STATE.get("workspace", WORKSPACE), "bot_id": BOT}
    if name == "chat.postMessage":
        return posted(arguments)
    if name == "chat.update":
        return updated(arguments)
    if name == "apps.connections.open":
        ticket = secrets.token_hex(8)
        STATE["tickets"].add(ticket)
        return {"url": f"ws://127.0.0.1:{STATE['socket_port']}/link/?ticket={ticket}"}
    member = by_id(MEMBERS.values(), arguments.get("user")) if name == "users.info" else next(
        (one for one in MEMBERS.values() if one["profile"]["email"] == arguments.get("email")), None)
    need(member, "user_not_found" if name == "users.info" else "users_not_found")
    return {"user": member}


def hooked(path, body):
    """An answer to whoever pressed or typed something: five within half an hour."""
    hook = STATE["hooks"].get(path)
    if hook is None or hook[0] < time.monotonic() or hook[1] >= 5:
        return 404, {}, {}
    hook[1] += 1
    message = json.loads(body)
    try:
        checked(message)
        need(message["response_type"] in ("ephemeral", "in_channel"), "invalid_payload")
    except Wrong as error:
        tell(what="wrong", method="response_url", code="invalid", why=str(error))
        return 400, {}, {}
    tell(what="answered", to=hook[2], message=message)
    return 200, {}, {"ok": True}


async def http(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, value in (one.split(":", 1) for one in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = line.split(" ")[1]
            if path.startswith("/api/"):
                status, more, said = method(path.removeprefix("/api/"), headers, body)
                if STATE["eager"] and path == "/api/chat.postMessage" and said.get("ok"):
                    # Somebody presses before whoever posted it knows where it is.
                    order, STATE["eager"] = STATE["eager"], None
                    order |= {"do": "press", "channel": said["channel"], "ts": said["ts"]}
                    tell(what="eager", **await do(order))
            else:
                status, more, said = hooked(path, body)
            text = json.dumps(said).encode()
            more = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                         f"{more}\r\n".encode() + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def socket(connection):
    ticket = connection.request.path.partition("ticket=")[2]
    if ticket not in STATE["tickets"]:
        await connection.close(1008, "this ticket is not good, or was used")
        return
    STATE["tickets"].remove(ticket)
    await connection.send(json.dumps({"type": "hello", "num_connections": len(STATE["sockets"]) + 1,
                                      "connection_info": {"app_id": APP},
                                      "debug_info": {"host": "applink", "approximate_connection_time": 18060}}))
    STATE["sockets"].append(connection)
    tell(what="connected", connections=len(STATE["sockets"]))
    try:
        async for text in connection:
            envelope = json.loads(text)["envelope_id"]
            waiting = STATE["acks"].pop(envelope, None)
            if waiting and not waiting.done():
                waiting.set_result(None)
    except ConnectionClosed:
        pass
    finally:
        STATE["sockets"].remove(connection)
        tell(what="disconnected", connections=len(STATE["sockets"]))


async def over_socket(kind, payload, order):
    """Sends an envelope, and again on another connection if nobody acknowledges it in time."""
    STATE["count"] += 1
    envelope = order.get("envelope") or f"envelope-{STATE['count']}"
    text = json.dumps({"type": kind, "envelope_id": envelope, "payload": payload, "accepts_response_payload": True})
    started = time.monotonic()
    for attempt in range(3):
        while not STATE["sockets"]:
            await asyncio.sleep(0.02)
        waiting = STATE["acks"][envelope] = asyncio.get_running_loop().create_future()
        try:
            await STATE["sockets"][-1].send(text)
            tell(what="sent", envelope=envelope, attempt=attempt)
            await asyncio.wait_for(waiting, PATIENCE)
            return {"acknowledged": True, "took": time.monotonic() - started, "attempt": attempt}
        except (TimeoutError, ConnectionClosed):
            continue
    return {"acknowledged": False}


async def over_http(path, form, order):
    """Posts a callback, signed as Slack signs; `order` may spoil it."""
    body = urllib.parse.urlencode(form)
    at = str(int(time.time()) + order.get("late", 0))
    secret = order.get("secret", sys.argv[4])
    signature = SignatureVerifier(secret).generate_signature(timestamp=at, body=body)
    if order.get("rewritten"):
        body = body.replace("%22", "%22%20", 1)
    headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature}
    if order.get("unsigned"):
        headers.pop("X-Slack-Signature")
    if order.get("as_before"):
        headers, body = STATE["before"]
    STATE["before"] = headers, body
    port, verb = STATE["callbacks"], order.get("verb", "POST")
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                 f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    said = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    return {"status": int(said.split(b" ")[1]), "took": time.monotonic() - started}


def hook(order):
    STATE["count"] += 1
    path = f"/hooks/{STATE['count']}"
    STATE["hooks"][path] = [time.monotonic() + 1800, 0, order["by"]]
    return f"http://127.0.0.1:{STATE['port']}{path}"


def member_of(order):
    return {"id": MEMBERS[order["by"]]["id"], "username": order["by"], "name": order.get("called", order["by"]),
            "team_id": order.get("members_of", WORKSPACE)}


def pressed(order):
    """The payload of a button that somebody presses as it is shown to them now."""
    at = order["channel"], order["ts"]
    message = STATE["messages"][at]
    elements = [one for block in message["blocks"] if block["type"] == "actions" for one in block["elements"]]
    shown = next((one for one in elements if one["action_id"] == order["action"]), None)
    action = {"type": "button", "action_id": order["action"], "block_id": "b", "action_ts": "1.2"}
    if order["action"] == "approve_for":
        options = shown["options"]
        chosen = next(one for one in options if one["text"]["text"] == order["option"])
        action |= {"type": "static_select", "selected_option": chosen}
    else:
        action["value"] = order.get("value") or shown["value"]
    note = {"n": {"note": {"type": "plain_text_input", "value": order.get("note")}}}
    STATE["count"] += 1
    return {"type": "block_actions", "team": {"id": order.get("workspace", WORKSPACE), "domain": "acme"},
            "user": member_of(order), "api_app_id": order.get("app", APP), "token": "deprecated",
            "container": {"type": "message", "message_ts": order.get("other_ts", at[1]), "channel_id": at[0]},
            "channel": {"id": at[0], "name": "x"}, "trigger_id": f"trigger-{STATE['count']}",
            "response_url": hook(order), "state": {"values": note}, "actions": [action]}


def typed(order):
    STATE["count"] += 1
    return {"token": "deprecated", "team_id": order.get("workspace", WORKSPACE), "team_domain": "acme",
            "channel_id": "C024BE93N", "channel_name": "incident-7", "user_id": MEMBERS[order["by"]]["id"],
            "user_name": order["by"], "command": "/access", "text": order["text"], "api_app_id": order.get("app", APP),
            "response_url": hook(order), "trigger_id": f"trigger-{STATE['count']}"}


async def do(order):
    what, socket_mode = order["do"], STATE["callbacks"] is None
    if what == "press" and socket_mode:
        return await over_socket("interactive", pressed(order), order)
    if what == "press":
        path = "/connectors/slack/interactions"
        if order.get("as_before"):
            return await over_http(path, {}, order)
        return await over_http(path, {"payload": json.dumps(pressed(order))}, order)
    if what == "type" and socket_mode:
        return await over_socket("slash_commands", typed(order), order)
    if what == "type":
        return await over_http("/connectors/slack/commands", typed(order), order)
    if what == "callbacks":
        STATE["callbacks"] = order["port"]
    elif what == "down":
        STATE["down"] = order["down"]
        for connection in list(STATE["sockets"]) if order["down"] else []:
            await connection.close()
    elif what == "limit":
        STATE["limits"][order["method"]] = [time.monotonic() + order["seconds"], 0]
    elif what == "archive":
        (STATE["archived"].add if order["archived"] else STATE["archived"].discard)(order["channel"])
    elif what == "eager":
        STATE["eager"] = order["press"]
    elif what == "error":
        # Once, of one channel if it is named.
        STATE["errors"][order["method"]] = {"code": order["code"], "of": order.get("of")}
    elif what == "member":
        MEMBERS[order["name"]] |= order["change"]
    elif what == "disconnect":
        connection = STATE["sockets"][0]
        await connection.send(json.dumps({"type": "disconnect", "reason": "refresh_requested", "debug_info": {}}))
        asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(connection.close()))
    return {}


async def main():
    server = await asyncio.start_server(http, "127.0.0.1", int(sys.argv[1]))
    STATE["port"] = server.sockets[0].getsockname()[1]
    sockets = await serve(socket, "127.0.0.1", 0, ping_interval=5)
    STATE["socket_port"] = next(iter(sockets.sockets)).getsockname()[1]
    print(f"port {STATE['port']}", flush=True)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def done(order):
        try:
            said = await do(order)
        except Exception as error:
            said = {"failed": repr(error)}
        tell(what="done", do=order["do"], **said)

    tasks = set()
    while line := await reader.readline():
        task = asyncio.ensure_future(done(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    assert re.fullmatch(r"\d+", sys.argv[1])
    asyncio.run(main())
