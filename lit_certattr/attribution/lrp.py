"""Layer-wise relevance propagation."""

import math
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ChannelReduction, as_logits, graph_mode, kernels, ordinary
from lit_certattr.attribution.batching import check_max_batch, tiled
from lit_certattr.attribution.lrp_calls import Rules
from lit_certattr.attribution.lrp_rules import Signed
from lit_certattr.attribution.lrp_tape import Tape
from lit_certattr.attribution.places import is_scripted
from lit_certattr.errors import InputError
from lit_certattr.models.fold import folded_copy

Composite = Literal["epsilon_plus_box", "epsilon_plus"]

_signed: WeakKeyDictionary[nn.Module, dict[int, Signed]] = WeakKeyDictionary()
"""Positive and negative parts of the weights of each folded copy, which never change."""


class LRP(Attribution):
    """Layer-wise relevance propagation of the target logit (Bach et al., 2015).

    Batch normalisation is folded into the layer before it, once a network (:mod:`lit_certattr.models.fold`); the
    network itself is not changed. The composites of Kohlbrenner et al. (2020), also those of Anani et al. (2025):

    - convolutions: the z+ rule; with ``"epsilon_plus_box"`` the first one, which sees the image: the z-box rule;
    - linear layers: the epsilon rule;
    - activations pass relevance on; averages and sums of two branches (skip connections) share it in proportion to
      their summands, as the epsilon rule does;
    - convolutions and batch normalisations of one input that are added up are one convolution (RepVGG, MobileOne), as
      in the network that is deployed; a batch normalisation that is any other summand: the epsilon rule;
    - if a gate scales a signal (squeeze and excitation), the signal gets all relevance (Arras et al., 2017);
    - maxima, padding, views and so on move it; the normalisation of the image passes it on to the pixels.

    The rules follow the calls of one forward pass, so every residual or convolutional network that calls nothing
    else works: ResNets, VGGs, EfficientNets, MobileNets, of torchvision, timm or your own. There is no rule for
    attention, layer normalisation, or a batch normalisation that neither follows a layer nor is a summand (DenseNet):
    these are refused in one line.

    Noisy images leave the box of the z-box rule. For a pixel outside, the box is widened to hold that pixel: on
    images in the box the rule is the published one, and everywhere contributions are non-negative and relevance is
    conserved. The map is one fixed function of the image, as certificates need.

    Relevance adds up to the logit, up to the shares of biases and ``epsilon``; that of a value without any positive
    contribution is lost in z+, as published. Through many layers the biases take nearly all of it (of a logit of 9.2
    of EfficientNet-Lite0 the pixels got 0.002): read maps by their ranks.

    Model evaluations per image: about two gradients, three where activations may be negative.

    Args:
        composite: ``"epsilon_plus_box"`` or ``"epsilon_plus"``.
        low: Lowest pixel of the box.
        high: Highest pixel of the box.
        epsilon: Stabilises all divisions, in units of activations.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: Channel reduction, see :class:`Attribution`; the default is that of Anani et al. (2025).

    Raises:
        InputError: If a setting is out of range; when called, if the network holds a function without a rule.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2, bias=False))
        >>> images, targets = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 1])
        >>> relevance = LRP(channels="sum")(net, images, targets).sum((1, 2))
        >>> bool(relevance.allclose(net(images).gather(1, targets[:, None])[:, 0], atol=1e-4))
        True
    """

    needs_layers = True

    def __init__(
        self,
        composite: Composite = "epsilon_plus_box",
        low: float = 0.0,
        high: float = 1.0,
        epsilon: float = 1e-6,
        max_batch: int | None = None,
        channels: ChannelReduction = "abs_sum",
    ) -> None:
        super().__init__(channels)
        if composite not in get_args(Composite):
            raise InputError(f"composite must be one of {', '.join(get_args(Composite))}, got {composite!r}")
        if not (-math.inf < low < high < math.inf and 0 < epsilon < math.inf):
            raise InputError(
                f"low must be below high, and epsilon positive, got low={low}, high={high}, epsilon={epsilon}"
            )
        check_max_batch(max_batch)
        self.composite, self.low, self.high, self.epsilon, self.max_batch = composite, low, high, epsilon, max_batch

    def scores(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Signed relevance of every channel, ``[B, C, H, W]``, before the channels are reduced.

        Args:
            model: Network from images in [0, 1] to logits ``[B, num_classes]``.
            images: Images ``[B, C, H, W]``.
            targets: Class indices ``[B]``.
            create_graph: Keep the graph for a derivative of the scores.

        Raises:
            InputError: If ``model`` is no module, is scripted, or has a layer without a rule.
        """
        model = getattr(model, "_orig_mod", model)  # behind torch.compile
        if not isinstance(model, nn.Module):
            raise InputError(f"LRP needs a network of modules, got {type(model).__name__}")
        if is_scripted(model):
            raise InputError(
                f"LRP cannot see what {type(model).__name__} does, since it is scripted: use the network from before "
                "torch.jit"
            )
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            folded = folded_copy(model, images[:1].detach())
            kept: dict[int, Signed] = {} if create_graph else _signed.setdefault(folded.module, {})
            relevance = torch.zeros_like(images)

            def propagate(rows: slice, _: slice) -> None:
                tape = Tape(images[rows], self._rules(model, kept), self._box())
                with tape:
                    if create_graph:
                        logits = functional_call(folded.module, folded.tensors(model), (tape.images,))
                    else:
                        logits = folded.module(tape.images)
                as_logits(logits)
                labels = targets[rows].view(-1, 1)
                start = torch.zeros_like(logits).scatter(1, labels, logits.gather(1, labels))
                with kernels(create_graph):
                    relevance[rows] = tape.propagate(logits, start)

            tiled(propagate, len(images), 1, model=model, images=images, max_batch=self.max_batch)
            return relevance

    def _rules(self, model: nn.Module, kept: dict[int, Signed]) -> Rules:
        def signed(weight: Tensor) -> Signed:
            parts = kept.get(id(weight)) or (weight.clamp(min=0), weight.clamp(max=0))
            kept[id(weight)] = parts
            return parts

        return Rules(self.epsilon, signed, type(model).__name__)

    def _box(self) -> tuple[float, float] | None:
        return (self.low, self.high) if self.composite == "epsilon_plus_box" else None

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        return self.reduce(self.scores(model, images, targets, create_graph))
