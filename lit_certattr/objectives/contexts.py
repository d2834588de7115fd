"""How a network is run while it is attacked or explained: without side effects, and differentiable twice."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from lit_certattr.attribution import eval_mode, frozen
from lit_certattr.attribution.base import kernels
from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations


@contextmanager
def explaining(model: nn.Module, smooth_beta: float | None = None, graph: bool = True) -> Iterator[None]:
    """Run the network as it is explained, in such a way that a loss of its gradient can be differentiated.

    All modules are in eval mode inside the block: in training mode batch normalisation would make every gradient
    depend on the other images, and attributions and attacks would move its statistics. Attention runs on its plain
    kernel, since the fused ones have no second derivative.

    Args:
        model: The network; its parameters stay trainable, and its modes are as before afterwards.
        smooth_beta: Sharpness of the softplus that replaces ReLU, see
            :class:`~lit_certattr.models.SmoothActivations`; ``None`` keeps ReLU.
        graph: Whether gradients will be differentiated again.

    Raises:
        InputError: Under ``torch.inference_mode``, where nothing can be differentiated.
    """
    if torch.is_inference_mode_enabled():
        raise InputError(
            "an objective needs gradients, which inference_mode forbids; use Trainer(inference_mode=False)"
        )
    twin = nullcontext() if smooth_beta is None else SmoothActivations(smooth_beta)
    with eval_mode(model), torch.enable_grad(), kernels(graph), twin:
        yield


@contextmanager
def attacking(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Run the network as it is attacked: eval mode, parameters frozen, and never in half precision.

    Under autocast to float16 the gradient of a confident prediction underflows, its sign becomes zero, and the
    attack does not move; the gradient scaler of the Trainer does not prevent that.

    Args:
        model: The network; modes and flags are as before afterwards.
        images: Images of the device on which it runs.
    """
    kind = images.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    with frozen(model), torch.autocast(kind, enabled=False) if half else nullcontext():
        yield
