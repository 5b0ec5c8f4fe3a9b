"""A workflow of Microsoft Teams that posts a card: "When a Teams webhook request is received".

    teams_double.py workflow PORT

What it checks is what the vendor's public documents say that the real one checks:

- MicrosoftDocs/msteams-docs, "Sending messages to Connectors and Webhooks" (connectors-using.md, commit 0166903): the
  payload is a message with a list of attachments of the type of adaptive cards; 4 requests in a second, 60 in 30, 100 in
  an hour, 150 in two and 1,800 in a day.
- MicrosoftDocs/msteams-docs, "Create Incoming Webhooks" (add-incoming-webhook.md, ms.date 2023-01-25): 28 KB at most;
  more than four requests a second are throttled.
- MicrosoftDocs/msteams-docs, "Create workflows" (create-workflows.md, ms.date 2024-03-01).
- Microsoft Learn, "Microsoft Teams" connector, known issues and limitations: about 28 KB, "Request Entity too large".
- Adaptive Cards 1.5, adaptive-card.json: the elements and their required members; TextRun renders no markdown.

A request trigger of Logic Apps answers 202 without a body. Prints its port (PORT 0: one that is free), then a JSON
object for each post. Lines on standard input change what it does: `answer 503`, `rest 2` (429 with Retry-After: 2),
`answer 202`.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LOCK = threading.Lock()
STATE = {"answer": 202, "rest": None}
MOST_BYTES = 28 * 1024
# In so many seconds, so many requests.
WINDOWS = ((1, 4), (30, 60), (3_600, 100), (7_200, 150), (86_400, 1_800))
LATELY = []
REQUIRED = {
    "TextBlock": {"text"},
    "RichTextBlock": {"inlines"},
    "TextRun": {"text"},
    "Action.OpenUrl": {"url"},
}
KNOWN = {
    "TextBlock": {"type", "text", "size", "weight", "wrap", "color", "isSubtle"},
    "RichTextBlock": {"type", "inlines", "horizontalAlignment"},
    "TextRun": {"type", "text", "size", "weight", "color", "isSubtle", "italic", "fontType"},
    "Action.OpenUrl": {"type", "url", "title"},
}


def element(what, kinds):
    kind = what.get("type")
    if kind not in kinds:
        raise ValueError(f"{kind!r} is not one of {kinds}")
    if missing := REQUIRED[kind] - what.keys():
        raise ValueError(f"{kind} lacks {missing}")
    if unknown := what.keys() - KNOWN[kind]:
        raise ValueError(f"{kind} has {unknown}")
    for inline in what.get("inlines", []):
        element(inline, {"TextRun"})
    if kind == "Action.OpenUrl" and urlsplit(what["url"]).scheme not in ("https", "http"):
        raise ValueError("a URL that no client opens")


def card(body):
    message = json.loads(body)
    if message["type"] != "message" or not message["attachments"]:
        raise ValueError("no message with attachments")
    for attachment in message["attachments"]:
        if attachment["contentType"] != "application/vnd.microsoft.card.adaptive":
            raise ValueError("no adaptive card")
        content = attachment["content"]
        if content["type"] != "AdaptiveCard" or content["version"] not in ("1.2", "1.3", "1.4", "1.5"):
            raise ValueError("no card that Teams draws")
        for one in content["body"]:
            element(one, {"TextBlock", "RichTextBlock"})
        for one in content.get("actions", []):
            element(one, {"Action.OpenUrl"})
    return message


def judged(handler, body):
    """The answer, what is wrong, and how long to rest."""
    asked = parse_qs(urlsplit(handler.path).query)
    if "sig" not in asked:
        return 401, "no signature in the URL", None
    now = time.monotonic()
    with LOCK:
        LATELY[:] = [at for at in LATELY if now - at < WINDOWS[-1][0]] + [now]
        for seconds, most in WINDOWS:
            within = [at for at in LATELY if now - at < seconds]
            if len(within) > most:
                LATELY.pop()
                return 429, f"more than {most} in {seconds} s", max(1, round(within[0] + seconds - now + 0.5))
    if STATE["rest"] is not None:
        return 429, "throttled", STATE["rest"]
    if STATE["answer"] != 202:
        return STATE["answer"], "as told", None
    if not handler.headers.get("Content-Type", "").startswith("application/json"):
        return 415, "no JSON", None
    if len(body) > MOST_BYTES:
        return 413, "Request Entity too large", None
    try:
        card(body)
    except (ValueError, KeyError, TypeError) as error:
        return 400, str(error), None
    return 202, None, None


class Flow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer, wrong, rest = judged(self, body)
        with LOCK:
            what = {"answer": answer, "wrong": wrong, "size": len(body), "body": json.loads(body)}
            print("got " + json.dumps(what), flush=True)
        self.send_response(answer)
        if rest is not None:
            self.send_header("Retry-After", str(rest))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def listen():
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "answer":
            STATE.update(answer=int(rest), rest=None)
        elif word == "rest":
            STATE["rest"] = int(rest)
        print("now " + line.strip(), flush=True)


def main():
    threading.Thread(target=listen, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Flow)
    print("port", server.server_address[1], flush=True)
    server.serve_forever()


main()
