"""Every protocol against every peer; how much each layer costs; latency at a fixed rate; two workers against one."""

import contextlib
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from . import measure, others, subjects

# Portcullis does everything throughout: identity, 100 policies, assertion, record. The others are plain.
PEERS = {"portcullis": subjects.portcullis, "nginx": others.nginx, "haproxy": others.haproxy, "envoy": others.envoy_plain,
         "traefik": others.traefik, "caddy": others.caddy}
MESSAGE = b"\0\0\0\0\x40" + b"x" * 64
RATE = 2000


@contextlib.contextmanager
def all_upstreams(folder: pathlib.Path):
    """HTTP/1.1 by nginx, gRPC by nghttpd, WebSocket echo by Python, all on the client's core."""
    rpc, echo = subjects.free_port(), subjects.free_port()
    answer = folder / "rpc/bench.Bench/Get"
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.write_bytes(MESSAGE)
    (folder / "message").write_bytes(MESSAGE)
    serve = ["nghttpd", "--no-tls", "--trailer", "grpc-status: 0", "-d", str(folder / "rpc"), "-a", "127.0.0.1", str(rpc)]
    again = [sys.executable, str(subjects.HERE / "websockets.py"), "serve", str(echo)]
    with (subjects.upstream(folder) as behind,
          measure.running(serve, measure.CLIENT_CORE, rpc, folder / "rpc.out"),
          measure.running(again, measure.CLIENT_CORE, echo, folder / "echo.out")):
        yield subjects.Behind(behind.http, rpc, echo)


def http1(folder, running, issuer, seconds):
    """64 connections, keep-alive, 1 KiB."""
    return wrk(running.port, issuer, seconds)


def tls(folder, running, issuer, seconds):
    """The same over TLS 1.3."""
    return wrk(running.tls, issuer, seconds, scheme="https")


def large(folder, running, issuer, seconds):
    """1 MiB a response, 8 connections."""
    return wrk(running.port, issuer, seconds, path="/1m", connections=8)


def http2(folder, running, issuer, seconds):
    """16 connections with 4 requests in flight each, 1 KiB."""
    return h2load(running.http2, issuer, seconds, "/1k", subjects.HOST)


def grpc(folder, running, issuer, seconds):
    """Unary calls of 64 bytes, 16 connections with 4 in flight each."""
    return h2load(running.http2, issuer, seconds, "/bench.Bench/Get", "rpc.example.com", "-d", str(folder / "message"),
                  "-H", "content-type: application/grpc", "-H", "te: trailers")


def websocket(folder, running, issuer, seconds):
    """Messages of 1 KiB to an echo and back, 64 connections with one in flight each."""
    command = ["taskset", "-c", measure.CLIENT_CORE, sys.executable, str(subjects.HERE / "websockets.py"), "load",
               str(running.port), "echo.example.com", first_token(issuer), "64", str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout), None


WIRES = {"HTTP/1.1": http1, "HTTP/2": http2, "gRPC": grpc, "TLS 1.3": tls, "WebSocket": websocket, "1 MiB": large}


def wires(folder, rounds, seconds):
    """CPU per request (WebSocket: per message) of each subject, protocol by protocol."""
    rows = []
    issuer = subjects.Issuer(folder)
    with all_upstreams(folder) as behind:
        for number in range(rounds):
            for wire, load in WIRES.items():
                for subject, start in PEERS.items():
                    with start(folder, behind, issuer) as running:
                        rows.append({"subject": f"{wire}: {subject}", "round": number,
                                     **cost(folder, running, issuer, load, seconds)})
    return rows


def depth(folder, rounds, seconds):
    """What each layer costs on HTTP/1.1."""
    def portcullis(**options):
        return lambda folder, behind, issuer: subjects.portcullis(folder, behind, issuer, **options)

    def stranger(folder, running, issuer, seconds):
        return wrk(running.port, issuer, seconds, host="open.example.com", anonymous=True)

    cases = {
        "portcullis: anonymous, one policy": (portcullis(policies=1), stranger),
        "portcullis: identity, one policy": (portcullis(policies=1), http1),
        "portcullis: identity, 100 policies": (portcullis(), http1),
        "portcullis: everything evaluated each time": (portcullis(decision_cache=False), http1),
        "envoy: identity, 100 policies": (others.envoy, http1),
        **{f"{name}: plain": (start, http1) for name, start in PEERS.items() if name != "portcullis"},
    }
    rows = []
    with all_upstreams(folder) as behind:
        for number in range(rounds):
            for subject, (start, load) in cases.items():
                issuer = subjects.Issuer(folder)
                if "one policy" in subject:
                    issuer.write_tokens(teams=1)
                with start(folder, behind, issuer) as running:
                    rows.append({"subject": subject, "round": number, **cost(folder, running, issuer, load, seconds)})
    return rows


def rates(folder, rounds, seconds):
    """Latency at a fixed rate, over 20 connections; what is added to the upstream's own."""
    rows = []
    issuer = subjects.Issuer(folder)
    cases = {**PEERS, "envoy, identity, 100 policies": others.envoy}
    with all_upstreams(folder) as behind:
        for number in range(rounds):
            direct = at_rate(behind.http, issuer, seconds)
            for subject, start in cases.items():
                with start(folder, behind, issuer) as running:
                    at_rate(running.port, issuer, 1)
                    before = measure.cpu_seconds(running.pid)
                    took = at_rate(running.port, issuer, seconds)
                    cpu = measure.cpu_seconds(running.pid) - before
                rows.append({"subject": subject, "round": number, "cpu_us_per_request": cpu / (RATE * seconds) * 1e6,
                             **{f"{name}_us": took[name] for name in took},
                             "added_p99_us": took["p99"] - direct["p99"]})
    return rows


def workers(folder, rounds, seconds):
    """CPU per request with two workers against one; the load generator shares their cores."""
    rows = []
    issuer = subjects.Issuer(folder)
    with all_upstreams(folder) as behind:
        for number in range(rounds):
            for count in (1, 2):
                for subject, start in {
                    "portcullis": lambda f, b, i, count=count: subjects.portcullis(f, b, i, cores=count),
                    "nginx": lambda f, b, i, count=count: others.nginx(f, b, workers=count),
                }.items():
                    with start(folder, behind, issuer) as running:
                        rows.append({"subject": f"{subject}, {count}", "round": number,
                                     **cost(folder, running, issuer, http1, seconds)})
    return rows


def cost(folder, running, issuer, load, seconds: int) -> dict:
    """CPU per unit of work after a warm-up, and how busy the subject was."""
    load(folder, running, issuer, 1)
    before, started = measure.cpu_seconds(running.pid), time.monotonic()
    done, run = load(folder, running, issuer, seconds)
    cpu, wall = measure.cpu_seconds(running.pid) - before, time.monotonic() - started
    return {"cpu_us": cpu / done * 1e6, "per_s": done / wall, "busy_share": cpu / wall,
            "p50_us": run and run["p50_us"], "p99_us": run and run["p99_us"]}


def first_token(issuer) -> str:
    return issuer.tokens.read_text().split()[0]


def wrk(port, issuer, seconds, scheme="http", path="/1k", connections=64, host=subjects.HOST, anonymous=False):
    """Requests answered, and their latency."""
    environment = {"TOKENS": str(issuer.tokens), "HOST_HEADER": host, "TARGET": path}
    if anonymous:
        environment["ANONYMOUS"] = "1"
    run = measure.load(f"{scheme}://127.0.0.1:{port}", subjects.HERE / "peers/load.lua", connections, seconds, **environment)
    return run["requests"], run


def h2load(port, issuer, seconds, path, host, *more):
    """Requests answered over HTTP/2 in clear text."""
    command = ["taskset", "-c", measure.CLIENT_CORE, "h2load", "-D", str(seconds), "-c16", "-m4",
               "-H", f":authority: {host}", "-H", f"authorization: Bearer {first_token(issuer)}", *more,
               f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ok, failed = re.search(r"status codes: (\d+) 2xx, (.*)", text).groups()
    # What is under way at the end counts as neither.
    if re.search(r"[1-9]", failed.replace("3xx", "").replace("4xx", "").replace("5xx", "")):
        raise SystemExit(f"h2load said:\n{text}")
    return int(ok), None


def at_rate(port, issuer, seconds) -> dict:
    """Percentiles, in microseconds, of 2,000 requests a second over 20 connections."""
    clients = 20
    # Each client starts a millisecond later in its beat than the one before: together they come evenly and not in bursts of twenty.
    with tempfile.NamedTemporaryFile() as log:
        command = ["taskset", "-c", measure.CLIENT_CORE, "h2load", "--h1", f"-n{RATE * seconds}", f"-c{clients}",
                   "-r1", "--rate-period=11ms",
                   f"--rps={RATE // clients}", f"--log-file={log.name}", "-H", f":authority: {subjects.HOST}",
                   "-H", f"authorization: Bearer {first_token(issuer)}", f"http://127.0.0.1:{port}/1k"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        lines = [line.split() for line in pathlib.Path(log.name).read_text().splitlines()]
    wrong = [line for line in lines if line[1] != "200"]
    if wrong or len(lines) < RATE * seconds * 0.9:
        raise SystemExit(f"at port {port}: {len(lines)} answers, of them wrong: {wrong[:3]}")
    took = statistics.quantiles((int(line[2]) for line in lines), n=1000)
    return {"p50": took[499], "p99": took[989], "p999": took[998]}


ALL = {"wires": wires, "depth": depth, "rates": rates, "workers": workers}
