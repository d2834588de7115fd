"""What every metric owes a run on several processes: its states are sums, so their order and number do not matter."""

import inspect

import pytest
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_sum

import lit_certattr.metrics as metrics

SETTINGS = {
    "CertifiedCosine": {"radius": 0.1},
    "CertifiedOverlapCurve": {"radii": [0.1]},
    "SameClassOverlap": {"num_classes": 3, "map_shape": (4, 4)},
}
CLASSES = [
    kind
    for name in metrics.__all__
    if inspect.isclass(kind := getattr(metrics, name)) and issubclass(kind, Metric) and not inspect.isabstract(kind)
]


def build(kind):
    """An instance, or None for the bases that only their subclasses can set up."""
    try:
        return kind(**SETTINGS.get(kind.__name__, {}))
    except TypeError:
        return None


BUILT = [metric for metric in map(build, CLASSES) if metric is not None]


def test_nearly_all_metrics_are_looked_at():
    assert len(BUILT) >= 20
    assert {"GridPG", "Deletion", "CertifiedDeletion", "SameClassOverlap"} <= {
        type(metric).__name__ for metric in BUILT
    }


@pytest.mark.parametrize("metric", BUILT, ids=lambda metric: type(metric).__name__)
def test_states_are_integer_sums(metric):
    assert metric._reductions
    for name, reduction in metric._reductions.items():
        assert reduction is dim_zero_sum
        assert not torch.is_floating_point(getattr(metric, name))
    assert metric.full_state_update is False
