"""Whoever the record is passed on to, and whoever is called.

    sink_peer.py http PORT SECRET
    sink_peer.py tcp PORT
    sink_peer.py tls PORT CERTIFICATE KEY

Prints its port (PORT 0: one that is free), then a JSON object for each thing that came. Posts are verified by the
library of the Standard Webhooks specification 1.0.0 (standardwebhooks 1.1.0; spec/standard-webhooks.md, commit b2fa7b8,
2026-08-17), which also judges their time; events of CloudEvents 1.0 (1.0.3-wip) in structured mode (cloudevents/spec,
cloudevents/bindings/http-protocol-binding.md and cloudevents/http-webhook.md, commit c2845a4, 2026-07-23) are read by their
own SDK (cloudevents 2.2.0): `Retry-After` of a 429 must be observed, redirects must not be followed; syslog is taken apart by RFC 5424
and the octet counts of RFC 5425. Lines on standard input change what it does from then on: `answer 503`,
`answer 302` (with a Location of its own), `answer 200`, `rest 2` (429 with Retry-After: 2); `close` ends connections at their end as RFC 5425
says, `keep` does not, and `drop` closes them at once, without reading, until the next line.
"""

import json
import re
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
# When posts came in the last second: `lately` says how many.
LATELY = []
STATE = {"answer": 200, "rest": None, "close": True, "drop": False}
SYSLOG = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) ([!-~]{1,48}) (-|[!-~]{1,128}) "
    r"([!-~]{1,32}) (-|(?:\[[!-~]{1,32}(?: [!-~]{1,32}=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*\])+) (.*)",
    re.DOTALL,
)


def tell(**what):
    with LOCK:
        print("got " + json.dumps(what), flush=True)


def listen():
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "answer":
            STATE["rest"] = None
            STATE["answer"] = int(rest)
        elif word == "rest":
            STATE.update(answer=429, rest=rest)
        elif word in ("close", "keep"):
            STATE["close"] = word == "close"
        STATE["drop"] = word == "drop"
        print("now " + line.strip(), flush=True)


def cloud_event(headers, body):
    """What the SDK of CloudEvents makes of it; nothing where it says that it is none."""
    if not headers.get("content-type", "").startswith("application/cloudevents+json"):
        return None
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event

    try:
        event = from_http_event(HTTPMessage(headers=headers, body=body))
        return {"type": event.get_type(), "id": event.get_id(), "source": event.get_source(),
                "subject": event.get_subject(), "data": event.get_data()}
    except Exception as error:  # whatever it is, the event is none
        return {"wrong": f"{type(error).__name__}: {error}"}


class Posts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        from standardwebhooks import Webhook, WebhookVerificationError

        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            Webhook(sys.argv[3]).verify(body, headers)
            verified = True
        except (WebhookVerificationError, KeyError) as error:
            verified = str(error)
        answer, now = STATE["answer"], time.monotonic()
        with LOCK:
            LATELY[:] = [at for at in LATELY if now - at < 1] + [now]
            lately = len(LATELY)
        # What is not taken is told apart: it comes again.
        tell(
            verified=verified,
            answer=answer,
            id=headers.get("webhook-id"),
            authorization=headers.get("authorization"),
            path=self.path,
            body=json.loads(body),
            cloud=cloud_event(headers, body),
            lately=lately,
        )
        self.send_response(answer)
        if STATE["rest"]:
            self.send_header("Retry-After", STATE["rest"])
        if answer == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        tell(followed=self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def collect(connection, context):
    try:
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        if STATE["drop"]:
            connection.close()
            return tell(dropped=True)
        text = b""
        while chunk := connection.recv(65536):
            text += chunk
        while text:
            count, _, rest = text.partition(b" ")
            message, text = rest[: int(count)], rest[int(count) :]
            if len(message) != int(count):
                raise ValueError("a message is cut")
            parts = SYSLOG.fullmatch(message.decode())
            if not parts:
                raise ValueError(f"no message of RFC 5424: {message!r}")
            priority, time, host, app, _, kind, data, said = parts.groups()
            tell(priority=int(priority), time=time, host=host, app=app, kind=kind, data=data,
                 ascii=said.isascii(), body=json.loads(said), answer=200 if STATE["close"] else 0)
        if STATE["close"]:
            if context:
                connection.unwrap()
            connection.close()
        else:
            KEPT.append(connection)
    except (OSError, ValueError) as error:
        tell(failed=f"{type(error).__name__}: {error}")


KEPT = []


def main():
    kind, port = sys.argv[1], int(sys.argv[2])
    threading.Thread(target=listen, daemon=True).start()
    if kind == "http":
        server = ThreadingHTTPServer(("127.0.0.1", port), Posts)
        print("port", server.server_address[1], flush=True)
        server.serve_forever()
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    server = socket.create_server(("127.0.0.1", port))
    print("port", server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=collect, args=(connection, context), daemon=True).start()


main()
