"""One logit as the two logits of a decision: for binary networks, and for one label of many."""

import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.settings import instance, is_line, whole_number


class BinaryHead(nn.Module):
    r"""A network with one logit, or one label of a multi-label network, as a classifier with two classes.

    Of the logit z, class 0 gets :math:`-z/2` and class 1 gets :math:`z/2`: their softmax is
    :math:`(1 - \mathrm{sigmoid}(z), \mathrm{sigmoid}(z))`, and the predicted class is the sign of z. So the noisy
    accuracy and :class:`~lit_certattr.certificates.PredictionCertificate` are about this label alone, whatever other
    labels are present; with the plain multi-label network they would ask whether its logit is the *largest*, which
    means nothing there. Gradients of the two classes are of opposite sign.

    Args:
        network: Network to one logit, ``[B]`` or ``[B, 1]``, or to one logit per label, ``[B, labels]``.
        label: Index of the label; ``None`` for a network with one logit.
        name: What tables and figures call class 1.

    Raises:
        InputError: If an argument is of another kind; when called, if the network gives other outputs.

    Example:
        >>> head = BinaryHead(nn.Flatten(), label=2, name="smiling")
        >>> head(torch.tensor([[[1.0, 2.0, 4.0]]])), head.class_names
        (tensor([[-2.,  2.]]), ['not smiling', 'smiling'])
    """

    def __init__(self, network: nn.Module, label: int | None = None, name: str = "positive") -> None:
        super().__init__()
        instance("network", network, nn.Module, "EfficientNetLite0()")
        if not is_line(name):
            raise InputError(f"name must be one line of text, got {name!r:.80}")
        self.network = network
        self.label = None if label is None else whole_number("label", label, least=0)
        self.num_classes = 2
        self.class_names = [f"not {name}", name]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 2]`` of images ``[B, C, H, W]``.

        Raises:
            InputError: If the network gives other outputs than it should.
        """
        output = self.network(images)
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        if self.label is None:
            if shape not in ((len(images),), (len(images), 1)):
                more = (
                    ": give the label to explain, BinaryHead(network, label=...)" if shape and len(shape) == 2 else ""
                )
                raise InputError(f"{type(self.network).__name__} must return one logit per image, got {shape}{more}")
            logit = output.reshape(-1, 1)
        else:
            if shape is None or len(shape) != 2 or shape[0] != len(images) or shape[1] <= self.label:
                raise InputError(
                    f"{type(self.network).__name__} must return logits [B, labels] with label {self.label}, got {shape}"
                )
            logit = output[:, self.label, None]
        return torch.cat([-logit / 2, logit / 2], dim=1)

    def extra_repr(self) -> str:
        """Show the label when the network is printed."""
        return f"label={self.label}"
