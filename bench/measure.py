"""Processes pinned to cores, their CPU time and memory, and the load generator."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

SERVER_CORE, CLIENT_CORE, BOTH_CORES = "0", "1", "0,1"
TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(command: list[str], core: str, port: int, log: pathlib.Path, patience: float = 30, **env: str):
    """Runs `command` on `core` until the block ends; waits until `port` answers."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdout=sink, stderr=sink, start_new_session=True, env={**os.environ, **env},
        )
    try:
        wait_for(port, process, log, patience)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen, log: pathlib.Path, patience: float = 30) -> None:
    """Waits until something listens on `port`."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended early:\n{log.read_text()[-4000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}:\n{log.read_text()[-4000:]}")


def family(pid: int) -> list[int]:
    """A process and its descendants (nginx has workers)."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        for task in pathlib.Path(f"/proc/{current}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                queue.extend(int(child) for child in task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, in seconds."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def thread_ticks(pid: int, name: str) -> dict[str, int]:
    """User and system time of each thread whose name starts with `name`, in clock ticks."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        comm = (task / "comm").read_text().strip()
        if comm.startswith(name):
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            found[comm] = int(fields[11]) + int(fields[12])
    return found


def resident_kib(pid: int) -> int:
    """Resident memory of a process and its descendants, in KiB."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{member}/status").read_text()
            match = re.search(r"VmRSS:\s+(\d+)", text)
            total += int(match.group(1)) if match else 0
    return total


def load(url: str, script: pathlib.Path, connections: int, seconds: int, **env: str) -> dict:
    """One run of wrk: requests, requests a second, errors, latency in microseconds."""
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "--latency", "-s", str(script), url]
    text = subprocess.run(command, check=True, capture_output=True, text=True,
                          env={**os.environ, **env}).stdout
    found = re.search(r"FIGURES requests=(\d+) errors=(\d+) p50=([\d.]+) p99=([\d.]+) us=(\d+)", text)
    if not found:
        raise SystemExit(f"wrk said:\n{text}")
    requests, errors = int(found[1]), int(found[2])
    if errors:
        raise SystemExit(f"{errors} of {requests} requests failed at {url}:\n{text}")
    return {"requests": requests, "p50_us": float(found[3]), "p99_us": float(found[4]),
            "seconds": int(found[5]) / 1e6}
