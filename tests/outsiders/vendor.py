"""What the doubles of incident systems have in common: a server, orders on standard input, messages out.

An order is a JSON object on one line, `{"do": NAME, …}`; what the double's method NAME returns is printed as
`done JSON`. What the API asks of its callers and a caller did not do is an error there, and is remembered in
`faults`. `down` answers 503 to everything. `limit` answers 429 to so many calls, with the vendor's headers, and
wants to be left alone for as long as these say: whoever calls before is at fault, whichever call it is. Whoever takes
a message has as long to say so as the vendor gives, and does not refuse one that is signed.
"""

import datetime
import json
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """An answer that is no 2xx."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def now(offset=0.0):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)


def millis(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def seconds(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Vendor:
    """One double."""

    # Seconds in which a message has to be answered.
    PATIENCE = 15.0
    # Seconds that who is asked too often wants to be left alone.
    REST = 2

    def __init__(self):
        self.lock = threading.RLock()
        self.faults, self.calls, self.events = [], [], []
        self.is_down, self.limited, self.url = False, 0, None
        self.limited_at = None

    # What tests order.

    def aim(self, url):
        self.url = url

    def down(self):
        self.is_down = True

    def up(self):
        self.is_down = False

    def limit(self, calls):
        self.limited = calls

    def seen(self):
        return {"faults": self.faults, "calls": self.calls, "limited": self.limited_at is not None}

    def deliver(self, event, sign="right", **how):
        """Sends a message that was made before, and says what was answered."""
        message_id, body = self.events[event]
        return self.send(message_id, json.dumps(body).encode(), sign, **how)

    def send(self, message_id, body, sign, **how):
        headers = {"Content-Type": "application/json", **self.signed(message_id, body, sign, **how)}
        if sign == "other body":
            body += b" "
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            if sign in ("right", "rotating") and 400 <= error.code < 500:
                self.faults.append(f"a signed message was answered {error.code}")
            return error.code
        except TimeoutError:
            self.faults.append(f"a message was not answered in {self.PATIENCE} s")
            return 0

    def signed(self, message_id, body, sign, **how):
        raise NotImplementedError

    def message(self, message_id, body, hook):
        """Keeps a message, and sends it unless it gets lost; its number, and what was answered."""
        self.events.append((message_id, body))
        number = len(self.events) - 1
        status = self.deliver(number) if hook else None
        return {"event": number, "status": status}

    def later(self, tell, *arguments):
        """Tells what a call has changed, when the call is answered. Nobody may be there any more."""

        def told():
            try:
                if self.url:
                    tell(*arguments)
            except urllib.error.URLError:
                pass

        threading.Timer(0.1, told).start()

    # What callers are answered.

    def fault(self, status, why, body=None):
        self.faults.append(why)
        raise Refused(status, body or {"error": why})

    def limits(self):
        """The headers of a 429."""
        return {"Retry-After": str(self.REST)}

    def too_many(self):
        """Its body."""
        return {"error": "too many"}

    def bucket(self, parts):
        """Whether a call counts toward the limit that tests set."""
        return True

    def rests(self):
        if self.limited_at is None:
            return False
        return time.monotonic() - self.limited_at < self.REST

    def answer(self, method, path, query, headers, body):
        raise NotImplementedError

    def respond(self, method, target, headers, body):
        split = urllib.parse.urlsplit(target)
        query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
        with self.lock:
            self.calls.append(f"{method} {split.path}")
            if self.is_down:
                raise Refused(503)
            parts = [urllib.parse.unquote(part) for part in split.path.strip("/").split("/")]
            if self.bucket(parts) and self.rests():
                self.faults.append(f"it was to be left alone: {method} {split.path}")
                raise Refused(429, self.too_many(), self.limits())
            if self.bucket(parts) and self.limited > 0:
                self.limited -= 1
                self.limited_at = time.monotonic()
                raise Refused(429, self.too_many(), self.limits())
            return self.answer(method, parts, query, headers, json.loads(body) if body else None)


def serve(vendor):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            more = {}
            try:
                status, answer = vendor.respond(self.command, self.path, headers, body)
            except Refused as refused:
                status, answer, more = refused.status, refused.body, refused.headers
            except Exception:
                traceback.print_exc()
                status, answer = 500, {"error": "the double is broken"}
                vendor.faults.append("the double is broken")
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"port {server.server_address[1]}", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        name = order.pop("do")
        try:
            done = getattr(vendor, name)(**order)
        except Exception as error:
            traceback.print_exc()
            done = {"broken": str(error)}
        print("done " + json.dumps(done), flush=True)
