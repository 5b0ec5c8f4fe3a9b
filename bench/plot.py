"""A plot per question: medians as bars, the spread over the rounds as whiskers."""

import pathlib
import statistics

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402 (after the backend)

# The first of these that a question measures is what its plot shows.
FIGURES = ("cpu_us_per_request", "cpu_us", "instructions_per_request", "added_p50_us", "kib_per_connection", "busier_core_share",
           "p99_ms")
OURS, OTHERS = "#1f6f6f", "#b8bfc6"


def plot(name: str, rows: list[dict], folder: pathlib.Path) -> pathlib.Path | None:
    """Draws one question; `None` where it has no figure to draw."""
    figure = next((figure for figure in FIGURES if figure in rows[0]), None)
    if figure is None:
        return None
    subjects = list(dict.fromkeys(row["subject"] for row in rows))[::-1]
    values = [[row[figure] for row in rows if row["subject"] == subject] for subject in subjects]
    medians = [statistics.median(each) for each in values]
    spread = [[median - min(each) for median, each in zip(medians, values)],
              [max(each) - median for median, each in zip(medians, values)]]
    drawing, axes = pyplot.subplots(figsize=(8, 0.6 + 0.3 * len(subjects)), layout="constrained")
    colours = [OURS if "portcullis" in subject or len(set(subjects)) < 3 else OTHERS for subject in subjects]
    axes.barh(subjects, medians, xerr=spread, color=colours, error_kw={"linewidth": 0.8})
    axes.set_xlabel(figure.replace("_", " "))
    axes.set_title(name, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    drawing.savefig(path)
    pyplot.close(drawing)
    return path
