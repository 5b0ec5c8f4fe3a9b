"""Comparisons with nginx, HAProxy, Envoy, Traefik and Caddy. See README.md in this folder for the method."""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile

from . import plot, questions, subjects


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=int, default=6, help="length of one measurement")
    parser.add_argument("--json", type=pathlib.Path, help="also write the raw figures here")
    parser.add_argument("--plots", type=pathlib.Path, help="also draw each question into this folder")
    parser.add_argument("--binary", type=pathlib.Path, help="another binary than the shipped one, to try a question out")
    parser.add_argument("question", nargs="*", help=f"any of: {', '.join(questions.ALL)}")
    args = parser.parse_args()
    if args.binary:
        subjects.BINARY = args.binary.absolute()
    raw = {}
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        for name in args.question or questions.ALL:
            print(f"\n## {name}", flush=True)
            raw[name] = questions.ALL[name](pathlib.Path(folder), args.rounds, args.seconds)
            report(raw[name])
            if args.plots and (drawn := plot.plot(name, raw[name], args.plots)):
                print(drawn)
    if args.json:
        args.json.write_text(json.dumps(raw, indent=1))
    return 0


def report(rows: list[dict]) -> None:
    """Prints medians over the rounds: one line per subject."""
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    figures = [key for key in rows[0] if key not in ("subject", "round", "busy")]
    print("| subject | " + " | ".join(figures) + " | rounds |")
    print("|---|" + "---|" * (len(figures) + 1))
    for subject in subjects:
        mine = [row for row in rows if row["subject"] == subject]
        cells = []
        for figure in figures:
            values = [row[figure] for row in mine if row.get(figure) is not None]
            cells.append(f"{statistics.median(values):.4g}" if values else "-")
        print(f"| {subject} | " + " | ".join(cells) + f" | {len(mine)} |")


sys.exit(main())
