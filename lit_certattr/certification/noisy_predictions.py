"""The truth flag of all certificates of an image: how many of its noisy copies are predicted as the explained class.

A certificate holds whatever the network predicts under noise; but where hardly any noisy copy is predicted as the
explained class, the certified map explains a class that the noisy network does not see.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.smoothing import Draw, class_votes

FIRST = 64
"""How many samples are predicted if each costs a forward pass of its own."""


class NoisyPredictions(Metric):
    """Counts the noisy copies of an image that are predicted as the explained class.

    All samples are counted if the passes for maps or scores give their logits, or a certificate needs these anyway.
    Otherwise the first 64 are, for one forward pass each. Copies whose logits tie or are not finite are not predicted
    as the class.

    Args:
        add_processes: Add the counts of all processes, which draw samples of the same image.
    """

    full_state_update = False
    is_differentiable = False

    num_predicted: Tensor
    num_predictions: Tensor
    num_extra: Tensor

    def __init__(self, add_processes: bool = False) -> None:
        super().__init__(sync_on_compute=add_processes)
        for state in ("num_predicted", "num_predictions", "num_extra"):
            self.add_state(state, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, draw: Draw, start: int) -> None:
        """Count a block, after the certificates have counted it.

        Args:
            draw: The noisy images of the block.
            start: Index of the first of them among all samples.
        """
        logits = draw.known_logits
        if logits is None:
            count = min(max(FIRST - start, 0), len(draw))
            if not count:
                return
            logits = draw.predict_first(count)
        self.num_predicted += class_votes(logits, draw.target)[0].sum()
        self.num_predictions += len(logits)
        if draw.num_extra:
            self.num_extra += draw.num_extra

    def compute(self) -> dict[str, int]:
        """The fields of a result (:class:`~lit_certattr.certificates.Result`)."""
        return {
            "num_predicted": int(self.num_predicted),
            "num_predictions": int(self.num_predictions),
            "num_extra_passes": int(self.num_extra),
        }
