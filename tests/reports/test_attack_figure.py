import numpy as np
import pytest

from lit_certattr.reports.attack_figure import Series, _arrange, sandwich_figure


def panel(name, level):
    budgets, radii = np.array([0.0, 1.0]), np.linspace(0, 1, 5)
    attacked = np.array([[1.0, 0.5], [0.9, 0.4]])
    return Series(name, f"{name} {level}", radii, np.zeros((2, 5)), budgets, attacked, attacked + 0.1, attacked)


def names(levels, singles):
    panels = [panel(name, level) for name in ("important", "unimportant") for level in range(levels)]
    return panels + [panel(name, 0) for name in singles]


@pytest.mark.parametrize(
    ("levels", "singles", "rows"),
    [
        (1, ("overlap",), [3]),
        (2, ("overlap", "cosine"), [3, 3]),
        (3, ("overlap",), [3, 3, 1]),
        (4, ("overlap",), [3, 3, 3]),
        (0, ("cosine",), [1]),
    ],
)
def test_rows_of_panels(levels, singles, rows):
    arranged = _arrange(names(levels, singles), 3)
    assert [len(row) for row in arranged] == rows
    figure = sandwich_figure({("c", one.name, at): one for at, one in enumerate(names(levels, singles))})
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert len(shown) == 2 * levels + len(singles)
    assert all(axes.get_ylim()[1] > 1.05 for axes in shown), "the upper bound is not cut off"
