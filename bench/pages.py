"""A house with a long past: what its pages and searches of its record take, as whoever asks sees it."""

import contextlib
import datetime
import http.client
import http.cookiejar
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from . import measure, revocation, subjects

GRANTS = int(os.environ.get("PORTCULLIS_GRANTS", 100_000))
EVENTS = int(os.environ.get("PORTCULLIS_EVENTS", 10_000_000))
# A house that is kept there needs to be furnished once only.
KEPT = os.environ.get("PORTCULLIS_BENCH_HOUSE")
LOADS = 20
SEARCHES = 40
WHO = "corp:eve"
# Somebody typed the address.
TYPED = {"Accept": "text/html", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
# As examples/past writes them.
PEOPLE, STEP_GRANTS = 5_000, 2_000
DAYS = 30
OPERATIONS = ("payments.listRefunds", "payments.getRefund", "payments.createRefund", "payments.createPayout")

PAGES = ("/", "/requests", "/review", "/live", "/overview", "/overview?span=7d", "/overview?span=30d", "/emergencies",
         "/incidents", "/incidents/PD-1", "/record", "/record?type=attempt&decision=deny", "/record?type=grant_started",
         "/services", "/services/payments", "/people", "/people?name=person+4711", "/people?name=nobody+is+called+so",
         "/people/corp%3Au20", f"/people/{urllib.parse.quote(WHO, safe='')}", "/policies", "/policies/1",
         "/policies?operation=payments.createRefund", "/policies?operation=orders.POST&principal=corp%3Au7", "/system",
         "/ask", "/ask?service=payments", "/ask?operation=payments.createRefund", "/me")


def pages(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """Every page of the console for somebody with all rights, then searches of the record: milliseconds each."""
    rows = []
    with furnished(folder) as house:
        for number in range(rounds):
            visitor = Visitor(house)
            for page in [*PAGES, *named(house)]:
                visitor.load(page)
                rows.append(row(page, number, [visitor.load(page) for _ in range(LOADS)]))
            for kind, question in searches(house).items():
                visitor.load(f"/v1/audit/events?limit=50&{question(1)}")
                asked = [f"/v1/audit/events?limit=50&order={('newest', 'oldest')[n % 2]}&{question(mixed(n * 77 + 5))}"
                         for n in range(SEARCHES)]
                rows.append(row(f"search: {kind}", number, [visitor.load(path) for path in asked]))
    return rows


def row(subject: str, number: int, times: list[float]) -> dict:
    ordered = sorted(times)
    return {"subject": subject, "round": number, "p50_ms": statistics.median(ordered),
            "p95_ms": ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], "most_ms": ordered[-1]}


class House:
    """The running house, with the token of the one person of its provider."""

    def __init__(self, running: subjects.Running, issuer: subjects.Issuer, began: datetime.datetime):
        self.running, self.issuer, self.began = running, issuer, began
        self.control = f"http://127.0.0.1:{running.control}"
        self.token = revocation.signed_in(self.control)

    def read(self, path: str) -> dict:
        return revocation.call(self.control + path, self.token, None, "GET")


class Visitor:
    """A browser that is signed in and keeps its connection."""

    def __init__(self, house: House):
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        opener.addheaders = list(TYPED.items())
        try:
            opener.open(f"{house.control}/sign-in?page=%2Fme").close()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"nobody can sign in: {error.read().decode()}") from error
        self.cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
        self.bearer = house.token
        self.connection = http.client.HTTPConnection("127.0.0.1", house.running.control, timeout=120)

    def load(self, path: str) -> float:
        """Milliseconds from the first byte of the request to the last of the answer."""
        headers = {"Authorization": f"Bearer {self.bearer}"} if path.startswith("/v1/") else {**TYPED, "Cookie": self.cookie}
        before = time.perf_counter()
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - before) * 1000
        assert answer.status == 200, f"{path}: {answer.status} {body[:2000]!r}"
        return took


def named(house: House) -> list[str]:
    """Pages of what there is."""
    waiting = house.read("/v1/access-requests?filter=to-review&limit=1")["access_requests"][0]["id"]
    mine = house.read("/v1/access-requests?filter=mine&limit=1")["access_requests"][0]["id"]
    grant = next(one for one in house.read("/v1/grants?limit=1")["grants"])["id"]
    attempt = house.read("/v1/audit/events?type=attempt&limit=1&order=newest")["events"][0]["seq"]
    return [f"/requests/{waiting}", f"/requests/{mine}", f"/grants/{grant}", f"/record/{attempt}", f"/record/{attempt}/proof",
            f"/record?access_request={mine}"]


def searches(house: House) -> dict:
    """Kinds of selective questions: each makes one out of a number."""
    def at(n: int, after: float = 0) -> str:
        span = datetime.timedelta(days=DAYS)
        time_of = house.began - span + span * (n % EVENTS) / EVENTS + datetime.timedelta(seconds=after)
        return time_of.strftime("%Y-%m-%dT%H:%M:%SZ")

    def user(n: int) -> str:
        return f"principal=corp:u{mixed(n % EVENTS) % PEOPLE}"

    return {
        "who": user,
        "who, operation": lambda n: f"{user(n)}&operation=payments.createPayout",
        "who, time": lambda n: f"{user(n)}&since={at(n)}&until={at(n, 86_400)}",
        "grant": lambda n: f"grant={ulid((1 << 80) | n % EVENTS // STEP_GRANTS)}",
        "decision, operation": lambda n: f"decision=deny&operation={OPERATIONS[n % 4]}",
        "class": lambda n: f"class=pci&from={n % EVENTS}",
        "service, instance, a minute": lambda n: f"service=payments&instance=p-2&since={at(n)}&until={at(n, 60)}",
        "type, time": lambda n: f"type=grant_started&since={at(n)}&until={at(n, 3600)}",
        "words": lambda n: f"text=/v1/refunds/R-{n % EVENTS}",
        "words, who": lambda n: f"text=v1+refunds&{user(n)}",
    }


@contextlib.contextmanager
def furnished(folder: pathlib.Path):
    """The house, once it has its past and its index goes as far."""
    home = pathlib.Path(KEPT).absolute() if KEPT else folder / "pages"
    issuer = subjects.Issuer(folder)
    issuer.groups = ["staff", "leads", "engineering"]
    past = home / "past.json"
    if not past.exists():
        began = datetime.datetime.now(datetime.UTC)
        with opened(home, issuer, folder) as running:
            house = House(running, issuer, began)
            incident = {"id": "PD-1", "title": "refunds are stuck", "severity": "sev1", "services": ["payments"]}
            revocation.call(house.control + "/v1/incidents", house.token, incident)
        before = time.monotonic()
        subprocess.run([str(writer()), str(home), str(EVENTS), str(GRANTS), began.isoformat(), WHO], check=True)
        print(f"{EVENTS} events and {GRANTS} grants written in {time.monotonic() - before:.0f} s", flush=True)
        past.write_text(json.dumps({"began": began.isoformat(), "events": EVENTS, "grants": GRANTS}))
    written = json.loads(past.read_text())
    assert (written["events"], written["grants"]) == (EVENTS, GRANTS), f"{home} has another past: {written}"
    before = time.monotonic()
    with opened(home, issuer, folder) as running:
        print(f"open after {time.monotonic() - before:.1f} s", flush=True)
        house = House(running, issuer, datetime.datetime.fromisoformat(written["began"]))
        wait_for_index(home, house)
        print(f"indexed after {time.monotonic() - before:.0f} s; {measure.resident_kib(running.pid) / 1024:.0f} MiB", flush=True)
        yield house


@contextlib.contextmanager
def opened(home: pathlib.Path, issuer: subjects.Issuer, folder: pathlib.Path):
    """The binary on one core, with whatever is in `home`."""
    (home / "policies").mkdir(parents=True, exist_ok=True)
    gate, control = subjects.free_port(), subjects.free_port()
    subjects.filled("payments.openapi.yaml", home)
    subjects.filled("pages.cedar", home).replace(home / "policies/pages.cedar")
    text = subjects.filled("pages.yaml", home, GATE=gate, CONTROL=control, ISSUER=issuer.url)
    command = [str(subjects.BINARY), "serve", "--config", str(text), "--cores", "1"]
    log = folder / "pages.out"
    with measure.running(command, measure.SERVER_CORE, gate, log, patience=600, PORTCULLIS_LOG="warn") as process:
        measure.wait_for(control, process, log, 600)
        yield subjects.Running(gate, process.pid, control, 0, gate)


def wait_for_index(home: pathlib.Path, house: House) -> None:
    """Until the index has all that the record had when this began."""
    newest = house.read("/v1/audit/events?limit=1&order=newest")["events"][0]["seq"]
    deadline = time.monotonic() + 120 + EVENTS / 1000
    while time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(f"file:{home}/audit/index.db?mode=ro", uri=True, timeout=30)) as index:
            if index.execute("SELECT next FROM covered").fetchone()[0] > newest:
                return
        time.sleep(1)
    raise SystemExit("the index has not come that far")


def writer() -> pathlib.Path:
    """The program that writes a past; built as the binary beside it if it is not there."""
    places = [place / "examples/past" for place in (subjects.BINARY.parent, subjects.HERE.parent / "target/release")]
    for place in places:
        if place.exists():
            return place
    build = ["cargo", "build", "--release", "--locked", "-p", "portcullis", "--example", "past"]
    subprocess.run(build, cwd=subjects.HERE.parent, check=True)
    return places[-1]


def mixed(n: int) -> int:
    """Spreads what follows each other, as examples/past does."""
    n = n * 0x9E37_79B9_7F4A_7C15 % (1 << 64)
    return (n ^ (n >> 29)) * 0xBF58_476D_1CE4_E5B9 % (1 << 64) >> 33


def ulid(bits: int) -> str:
    """An id as the API writes it: Crockford's base 32, 26 letters."""
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(letters[bits >> shift & 31] for shift in range(125, -1, -5))
