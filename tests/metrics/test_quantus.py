"""Sparseness, random logit and relevance rank accuracy on Quantus' own conventions give the numbers of Quantus 0.6.0.

The numbers come from ``python -m benchmarks.quantus_metrics --vectors 6``, which asks Quantus itself.
"""

import pytest

from benchmarks.quantus_metrics import ours

QUANTUS = {
    "sparseness": [0.27289077, 0.25942139, 0.27001292, 0.29779165, 0.22075286, 0.26958358],
    "relevance_rank_accuracy": [0.83333333, 0.76, 0.57894737, 0.37037037, 0.36, 0.18181818],
    "random_logit": [-0.03797632, 0.23682134, 0.23494379, 0.30680347, 0.15416722, 0.30842463],
}


@pytest.mark.parametrize("name", QUANTUS)
def test_equals_quantus_on_its_conventions(name):
    # Gradients in float32 differ from processor to processor by some 1e-6.
    assert ours(6)[name].tolist() == pytest.approx(QUANTUS[name], abs=1e-5)
