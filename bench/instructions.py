"""Instructions per request, counted by callgrind: a regression of the hot path shows on any machine, busy or not."""

import contextlib
import pathlib
import re
import shlex
import subprocess
import time

from . import subjects, wire

REQUESTS = 20_000


def instructions(folder: pathlib.Path, rounds: int, _seconds: int) -> list[dict]:
    """All threads of our process, 20,000 requests over 8 connections after as many to warm up."""
    cases = {
        "everything": ({}, "--h1", subjects.HOST),
        "everything, HTTP/2": ({}, "--npn-list=h2c", subjects.HOST),
        "evaluated each time": ({"decision_cache": False}, "--h1", subjects.HOST),
        "anonymous": ({}, "--h1", "open.example.com"),
    }
    rows = []
    issuer = subjects.Issuer(folder)
    with wire.all_upstreams(folder) as behind, counted(folder) as out:
        for number in range(rounds):
            for subject, (options, protocol, host) in cases.items():
                with subjects.portcullis(folder, behind, issuer, **options, options=("--busy-poll", "0")) as running:
                    load(running.port, issuer, protocol, host)
                    control("-i", "on", running.pid)
                    time.sleep(0.5)
                    load(running.port, issuer, protocol, host)
                    control("-i", "off", running.pid)
                    control("-d", running.pid)
                rows.append({"subject": subject, "round": number, "instructions_per_request": total(out) / REQUESTS})
    return rows


@contextlib.contextmanager
def counted(folder: pathlib.Path):
    """Puts our binary under callgrind while the block runs; yields where its dumps go."""
    binary, out = subjects.BINARY, folder / "callgrind"
    wrapper = folder / "under-callgrind"
    command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", str(binary)]
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    wrapper.chmod(0o755)
    subjects.BINARY = wrapper
    try:
        yield out
    finally:
        subjects.BINARY = binary


def total(out: pathlib.Path) -> int:
    """What the dumps count together; forgets them."""
    dumps = [dump for dump in out.parent.glob("callgrind.*") if dump.suffix[1:].isdigit()]
    counts = [int(found[1]) for dump in dumps if (found := re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE))]
    for dump in dumps:
        dump.unlink()
    return sum(counts)


def control(*arguments) -> None:
    subprocess.run(["callgrind_control", *map(str, arguments)], check=True, capture_output=True)


def load(port: int, issuer, protocol: str, host: str) -> None:
    """Exactly so many requests; all of them must be answered."""
    command = ["h2load", protocol, f"-n{REQUESTS}", "-c8", "-H", f":authority: {host}"]
    if host == subjects.HOST:
        command += ["-H", f"authorization: Bearer {wire.first_token(issuer)}"]
    text = subprocess.run([*command, f"http://127.0.0.1:{port}/1k"], check=True, capture_output=True, text=True).stdout
    assert f"{REQUESTS} 2xx" in text, text
