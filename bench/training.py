"""Traffic for the profile that the release binary is optimised by: `python -m bench.training BINARY`.

The kinds of work that a gate does all day: remembered and evaluated decisions, every protocol, masked answers, refusals.
"""

import pathlib
import subprocess
import sys
import tempfile

from . import masking, measure, subjects, wire

SECONDS = 5


def main() -> None:
    subjects.BINARY = pathlib.Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory(prefix="portcullis-training-") as name:
        folder = pathlib.Path(name)
        issuer = subjects.Issuer(folder)
        masking.write(folder)
        with wire.all_upstreams(folder) as behind:
            for decision_cache in (True, False):
                with subjects.portcullis(folder, behind, issuer, decision_cache=decision_cache) as running:
                    exercise(folder, running, issuer)


def exercise(folder: pathlib.Path, running: subjects.Running, issuer: subjects.Issuer) -> None:
    env = {"TOKENS": str(issuer.tokens), "HOST_HEADER": subjects.HOST}
    script = subjects.HERE / "peers/load.lua"
    plain, tls = f"http://127.0.0.1:{running.port}", f"https://127.0.0.1:{running.tls}"
    measure.load(plain, script, 64, SECONDS, **env)
    measure.load(plain, script, 1, 1, **env)
    for load in wire.WIRES.values():
        load(folder, running, issuer, 2)
    for target, connections in masking.CASES.values():
        measure.load(plain, script, connections, 2, **{**env, "HOST_HEADER": masking.MASKED, "TARGET": target})
    token = issuer.tokens.read_text().split()[0]
    for url, bearer in ((plain, token), (tls, token), (plain, "unknown")):
        headers = ["-H", f"authorization: Bearer {bearer}", "-H", f":authority: {subjects.HOST}"]
        subprocess.run(["h2load", "-n5000", "-c8", "-m8", *headers, f"{url}/1k"], check=True, capture_output=True)


main()
