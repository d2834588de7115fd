"""The figure of ``certify.py sigmas``: what is recognised, kept and certified at each noise level."""

import io
from collections.abc import Sequence

from lit_certattr.certification.trial import Trial

_COLOURS = ("#2e86c1", "#c0392b")


def panels(trials: Sequence[Trial]) -> dict[str, str]:
    """Title of each panel by the name of what it shows: noisy accuracy, agreement, and one for each certified metric.

    Shares of random maps and counts of images stay in the table.

    Args:
        trials: The trials.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.certified))
    shown = [
        name for name in names if not any(word in name for word in ("null", "_low", "_high", "_holds", "_refuted"))
    ]
    return {
        "noisy_accuracy": "noisy copies recognised",
        "agreement": "smoothed map that agrees with the clean map",
    } | {name: f"certified: {name}" for name in shown if "_not_shown" not in name}


def sigmas_figure(trials: Sequence[Trial]) -> bytes:
    """A PNG with one panel per number and one line per network, over the noise level.

    Args:
        trials: The trials.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = panels(trials)
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, title) in zip(grid, titles.items(), strict=False):
        for network, colour in zip(dict.fromkeys(trial.network for trial in trials), _COLOURS, strict=False):
            own = [trial for trial in trials if trial.network == network]
            values = [trial.certified.get(name, getattr(trial, name, None)) for trial in own]
            known = [(trial.sigma, value) for trial, value in zip(own, values, strict=True) if value is not None]
            axes.plot(*zip(*known, strict=True), marker="o", color=colour, label=network) if known else None
        if name == "noisy_accuracy":
            axes.axhline(0.5, color="black", linestyle=":", linewidth=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("sigma")
        axes.set_ylim(bottom=0)
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()
