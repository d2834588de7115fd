"""The figure of an evaluation: agreement of maps under attack and under random search, compared with chance."""

import io
from collections.abc import Mapping, Sequence

from lit_certattr.records.evaluation_directory import Mean

_COLOURS = ("#c0392b", "#2e86c1")


def agreement_figure(found: Sequence[Mean], searches: Sequence[str], words: Mapping[str, str], title: str) -> bytes:
    """A PNG with one group of bars for each number that lies between -1 and 1, with its standard errors.

    Args:
        found: The means.
        searches: Names of the searches, one bar each.
        words: Description of each number to show, by name.
        title: Title of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = {(mean.search, mean.number): mean for mean in found}
    shown = [
        name for name in words if (searches[0], name) in known and name not in ("distance", "centre_shift", "moved")
    ]
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    height = 0.8 / len(searches)
    for place, (search, colour) in enumerate(zip(searches, _COLOURS, strict=False)):
        rows = [index + (place - (len(searches) - 1) / 2) * height for index in range(len(shown))]
        values = [known[search, name].mean for name in shown]
        errors = [0 if known[search, name].num_images < 2 else known[search, name].standard_error for name in shown]
        axes.barh(rows, values, height, xerr=errors, color=colour, label=search, error_kw={"linewidth": 0.8})
    for index, name in enumerate(shown):
        if chance := known.get((searches[0], f"{name}_chance")):
            label = "chance" if name == shown[0] else None
            axes.plot([chance.mean] * 2, [index - 0.45, index + 0.45], color="black", linestyle=":", label=label)
    axes.set_yticks(range(len(shown)), [words[name] for name in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(min(0, *axes.get_xlim()), 1)
    axes.set_xlabel("agreement of the maps of clean and perturbed images; 1 = unchanged")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()
