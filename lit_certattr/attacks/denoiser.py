"""Whether an attack can see through a denoiser."""

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.models import Denoised

_STEP = 1e-2
_MOST, _LEAST = 2.0, 0.5  # how far the slope along the gradient may be from the gradient's length


def check_denoiser_graph(network: Denoised, images: Tensor) -> None:
    """Check that the gradients of a denoiser are those of its output: attacks that trust wrong ones find too little.

    A denoiser that computes a part of its output outside autograd (``detach``, NumPy, ``torch.no_grad``) has no
    gradient, or that of the rest. Its output is compared with its gradient along the direction of the latter, for one
    image. A ``straight_through`` adapter is accepted as it is.

    Args:
        network: The denoised network, in eval mode.
        images: Images ``[B, C, H, W]``.

    Raises:
        InputError: If there is no gradient, or it is another one.
    """
    name = type(network.denoiser).__name__
    if getattr(network.denoiser, "straight_through", False):
        return
    image = images[:1].detach().clone()
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    with torch.inference_mode(False), torch.enable_grad():
        point = image.clone().requires_grad_(True)
        value = (network.denoise(point.clone()) * weights).sum()
        if not value.requires_grad:
            raise InputError(f"{name} has no gradient, so that attacks cannot see through it: {_REMEDY}")
        (gradient,) = torch.autograd.grad(value, point)
    length = float(gradient.norm())
    if length > 0:
        step = _STEP * gradient / length
        with torch.no_grad():
            up, down = ((network.denoise(image + move) * weights).sum() for move in (step, -step))
        slope = float(up - down) / (2 * _STEP)
        if _LEAST * length <= slope <= _MOST * length:
            return
        found = f"its output changes by {slope:.3g} where its gradient says {length:.3g}"
    else:
        found = "its gradient is zero"
    raise InputError(f"the gradient of {name} is not that of its output ({found}): {_REMEDY}")


_REMEDY = (
    "let all of its parts be differentiable, or wrap it in DenoiserAdapter(..., straight_through=True) and take the "
    "attacks for weaker ones"
)
