"""What masking costs: the same answers of a service with sensitive fields, and of one without."""

import json
import pathlib
import time

from . import measure, subjects

MASKED = "masked.example.com"
CASES = {"1 KiB": ("/json/1k.json", 64), "1 MiB": ("/json/1m.json", 8)}


def order(number: int) -> dict:
    """Some 330 bytes, of which two fields are sensitive."""
    return {"id": f"ord-{number:08}", "total": number * 7 / 4, "currency": "EUR", "paid": number % 3 == 0, "note": None,
            "customer": {"name": "Ana Example", "email": f"ana.{number}@example.com", "tags": ["new", "web", "eu-west"]},
            "card": {"brand": "visa", "number": f"4111 1111 {number:04} 1111", "expires": "2029-12"},
            "address": {"street": "Rua do Ouro 12, 3º", "city": "Lisboa", "zip": "1100-061"}}


def write(folder: pathlib.Path) -> None:
    """The documents, where the upstream finds them."""
    (folder / "json").mkdir(exist_ok=True)
    for name, size in (("1k", 1 << 10), ("1m", 1 << 20)):
        orders, used = [], len('{"orders": []}')
        while (used := used + 2 + len(json.dumps(order(len(orders)), ensure_ascii=False).encode())) <= size:
            orders.append(order(len(orders)))
        text = json.dumps({"orders": orders}, ensure_ascii=False).encode()
        (folder / "json" / f"{name}.json").write_bytes(text + b" " * (size - len(text)))


def masking(folder, rounds, seconds):
    """CPU per response with two masked fields in each 330 bytes of JSON, and without any."""
    rows = []
    write(folder)
    issuer = subjects.Issuer(folder)
    script = subjects.HERE / "peers/load.lua"
    with subjects.upstream(folder) as upstream, subjects.portcullis(folder, upstream, issuer) as running:
        url = f"http://127.0.0.1:{running.port}"
        for number in range(rounds):
            for case, (target, connections) in CASES.items():
                for host, words in ((subjects.HOST, "as it is"), (MASKED, "masked")):
                    env = {"TOKENS": str(issuer.tokens), "HOST_HEADER": host, "TARGET": target}
                    measure.load(url, script, connections, 1, **env)
                    before, started = measure.cpu_seconds(running.pid), time.monotonic()
                    run = measure.load(url, script, connections, seconds, **env)
                    cpu, wall = measure.cpu_seconds(running.pid) - before, time.monotonic() - started
                    size = (folder / target.lstrip("/")).stat().st_size
                    rows.append({"subject": f"{case}, {words}", "round": number, "cpu_us_per_request": cpu / run["requests"] * 1e6,
                                 "mb_per_cpu_s": run["requests"] * size / cpu / 1e6, "busy": cpu / wall})
    return rows
