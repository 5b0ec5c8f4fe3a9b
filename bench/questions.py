"""The questions: each runs its subjects in turn, round by round, and returns one row per run."""

import contextlib
import pathlib
import socket
import ssl
import subprocess
import time

from . import asking, crowds, holding, instructions, masking, measure, others, pages, revocation, subjects, wire

BUSY = 0.97


def throughput(folder: pathlib.Path, rounds: int, seconds: int, cases: dict) -> list[dict]:
    """CPU per request and requests a second at 64 connections, subjects interleaved."""
    rows = []
    issuer = subjects.Issuer(folder)
    with subjects.upstream(folder) as upstream:
        for number in range(rounds):
            for subject, start in cases.items():
                with start(folder, upstream, issuer) as (port, pid, *_):
                    rows.append({"subject": subject, "round": number,
                                 **saturated(port, pid, issuer, seconds)})
    return rows


def saturated(port: int, pid: int, issuer: subjects.Issuer, seconds: int) -> dict:
    """One measurement after a warm-up; repeated when the server's core was not busy."""
    env = {"TOKENS": str(issuer.tokens), "HOST_HEADER": subjects.HOST}
    script = subjects.HERE / "peers/load.lua"
    url = f"http://127.0.0.1:{port}"
    measure.load(url, script, 64, 2, **env)
    for _ in range(3):
        before, started = measure.cpu_seconds(pid), time.monotonic()
        run = measure.load(url, script, 64, seconds, **env)
        cpu, wall = measure.cpu_seconds(pid) - before, time.monotonic() - started
        if cpu / run["seconds"] >= BUSY:
            break
    return {"cpu_us_per_request": cpu / run["requests"] * 1e6, "requests_per_s": run["requests"] / run["seconds"],
            "p50_us": run["p50_us"], "p99_us": run["p99_us"], "busy_share": cpu / run["seconds"], "busy": cpu / wall}


def everything(folder, rounds, seconds):
    """Identity, 100 policies, assertion and record, against the peers."""
    return throughput(folder, rounds, seconds, {
        "portcullis": subjects.portcullis,
        "envoy": others.envoy,
        "nginx plain": others.nginx,
        "portcullis, no decision cache": lambda f, u, i: subjects.portcullis(f, u, i, decision_cache=False),
    })


def policies(folder, rounds, seconds):
    """CPU per request with 1,000 policies against 10, with and without the decision cache."""
    def start(count, cache):
        def run(folder, upstream, issuer):
            issuer.write_tokens(teams=min(count, subjects.TOKENS))
            return subjects.portcullis(folder, upstream, issuer, policies=count, decision_cache=cache)
        return run
    return throughput(folder, rounds, seconds, {
        f"{count} policies{'' if cache else ', no decision cache'}": start(count, cache)
        for cache in (True, False) for count in (10, 1000)
    })


def latency(folder, rounds, seconds):
    """Latency on one connection, and what each subject adds to the upstream's own."""
    rows = []
    issuer = subjects.Issuer(folder)
    env = {"TOKENS": str(issuer.tokens), "HOST_HEADER": subjects.HOST}
    script = subjects.HERE / "peers/load.lua"
    with subjects.upstream(folder) as upstream:
        for number in range(rounds):
            direct = measure.load(f"http://127.0.0.1:{upstream.http}", script, 1, seconds, **env)["p50_us"]
            for subject, start in {
                "portcullis": subjects.portcullis,
                "portcullis --busy-poll 0": lambda f, u, i: subjects.portcullis(f, u, i, options=("--busy-poll", "0")),
                "envoy": others.envoy,
                "nginx plain": others.nginx,
            }.items():
                with start(folder, upstream, issuer) as (port, *_):
                    url = f"http://127.0.0.1:{port}"
                    measure.load(url, script, 1, 1, **env)
                    run = measure.load(url, script, 1, seconds, **env)
                rows.append({"subject": subject, "round": number, "p50_us": run["p50_us"],
                             "added_p50_us": run["p50_us"] - direct, "p99_us": run["p99_us"]})
    return rows


def memory(folder, rounds, _seconds):
    """Memory of the idle process, and of one idle connection that has carried a request."""
    rows = []
    issuer = subjects.Issuer(folder)
    token = issuer.tokens.read_text().split()[0]
    request = (f"GET /1k HTTP/1.1\r\nHost: {subjects.HOST}\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def plain(port):
        return socket.create_connection(("127.0.0.1", port))

    def tls(port):
        return trusting.wrap_socket(plain(port), server_hostname=subjects.HOST)

    cases = {
        "portcullis": (subjects.portcullis, lambda running: running.port, plain),
        "portcullis, TLS": (subjects.portcullis, lambda running: running.tls, tls),
        "envoy": (others.envoy, lambda running: running[0], plain),
    }
    with subjects.upstream(folder) as upstream:
        for number in range(rounds):
            for subject, (start, port_of, connect) in cases.items():
                with start(folder, upstream, issuer) as running, contextlib.ExitStack() as open_:
                    time.sleep(1)
                    pid, count = running[1], 2000
                    idle = measure.resident_kib(pid)
                    for _ in range(count):
                        connection = open_.enter_context(connect(port_of(running)))
                        connection.sendall(request)
                        answer = connection.recv(65536)
                        assert answer.startswith(b"HTTP/1.1 200"), answer
                    time.sleep(1)
                    rows.append({"subject": subject, "round": number, "idle_mib": idle / 1024,
                                 "kib_per_connection": (measure.resident_kib(pid) - idle) / count})
    return rows


def spread(folder, rounds, _seconds):
    """How evenly few long-lived HTTP/2 connections keep two cores busy: the busier core's share."""
    rows = []
    issuer = subjects.Issuer(folder)
    token = issuer.tokens.read_text().split()[0]
    with subjects.upstream(folder) as upstream:
        for number in range(rounds * 5):
            for connections in (2, 4, 8):
                with subjects.portcullis(folder, upstream, issuer, cores=2) as running:
                    before = measure.thread_ticks(running.pid, "gate-")
                    ran = subprocess.run(
                        ["h2load", "-n4000", f"-c{connections}", "-m8", "-H", f"authorization: Bearer {token}",
                         "-H", f":authority: {subjects.HOST}", f"http://127.0.0.1:{running.port}/1k"],
                        check=True, capture_output=True, text=True)
                    assert "4000 2xx" in ran.stdout, ran.stdout
                    after = measure.thread_ticks(running.pid, "gate-")
                spent = [ticks - before.get(thread, 0) for thread, ticks in after.items()]
                rows.append({"subject": f"{connections} connections", "round": number,
                             "busier_core_share": max(spent) / max(sum(spent), 1)})
    return rows


ALL = {"everything": everything, "policies": policies, "latency": latency, "memory": memory, "spread": spread,
       "revocation": revocation.revocation, "holding": holding.holding, "asking": asking.asking,
       "instructions": instructions.instructions, "masking": masking.masking, "pages": pages.pages, **wire.ALL, **crowds.ALL}
