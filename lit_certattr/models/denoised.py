"""A network behind a denoiser, so that it sees images and not noise."""

from typing import Literal, get_args

from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.settings import instance

ExplainAt = Literal["denoised", "image"]

_EXPLAINED = {
    "denoised": "the classifier at the denoised image",
    "image": "the denoiser and the classifier together, at the image",
}


class Denoised(nn.Module):
    r"""A classifier that sees the denoised image: :math:`f(D(x))`.

    Networks that were trained without noise often do not recognise noisy copies, and then a smoothed map explains a
    class that the network does not see. The denoiser :math:`D` removes most of the noise first. It is a fixed part of
    the certified function, so all certificates hold as they are: they are about what happens to the image *before*
    the denoiser.

    Attribution methods know this split. The map is by default that of the classifier *at the denoised image*,

    .. math:: a(x) = \mathrm{method}(f,\; D(x)),

    for every method, without a backward pass through the denoiser; the layers of a method are those of the classifier.
    With ``explain_at="image"`` it is :math:`\mathrm{method}(f \circ D,\; x)`, with gradients through the denoiser.
    Statements and records say which one was used. Methods that add noise themselves and hand the copies to another
    (``SmoothGrad``) denoise every copy.

    The prediction that is explained is that of the classifier for the clean image, which needs no denoiser.

    Args:
        denoiser: Module from images ``[B, C, H, W]`` to images of the same shape; a fixed function of each image.
        network: Network from images in [0, 1] to logits ``[B, num_classes]``.
        explain_at: ``"denoised"`` or ``"image"``, see above.

    Raises:
        InputError: If an argument is of another kind, or one is itself denoised; when called, if the denoiser changes
            the shape of the images.

    Example:
        >>> import torch
        >>> from lit_certattr.attribution import InputXGradient
        >>> half = nn.AvgPool2d(1)
        >>> network = Denoised(half, nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
        >>> InputXGradient()(network, torch.rand(2, 1, 4, 4), torch.tensor([0, 2])).shape
        torch.Size([2, 4, 4])

    Reference: Salman, Sun, Yang, Kapoor and Kolter, "Denoised Smoothing" (NeurIPS 2020), for classes.
    """

    def __init__(self, denoiser: nn.Module, network: nn.Module, explain_at: ExplainAt = "denoised") -> None:
        super().__init__()
        instance("denoiser", denoiser, nn.Module, "UNetDenoiser()")
        instance("network", network, nn.Module, "EfficientNetLite0()")
        if explain_at not in get_args(ExplainAt):
            raise InputError(f"explain_at must be one of {', '.join(get_args(ExplainAt))}, got {explain_at!r}")
        if any(isinstance(part, Denoised) for part in (*denoiser.modules(), *network.modules())):
            raise InputError("a part of this network is denoised already: put Denoised around the plain network, once")
        self.denoiser, self.network, self.explain_at = denoiser, network, explain_at

    def denoise(self, images: Tensor) -> Tensor:
        """Denoise images ``[B, C, H, W]``; see :func:`denoise`."""
        return denoise(self.denoiser, images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]``."""
        logits: Tensor = self.network(self.denoise(images))
        return logits

    def extra_repr(self) -> str:
        """Show the setting when the network is printed."""
        return f"explain_at={self.explain_at!r}"


def denoise(denoiser: nn.Module, images: Tensor) -> Tensor:
    """Images without their noise, as a denoiser estimates them.

    Args:
        denoiser: Module from images to images of the same shape.
        images: Images ``[B, C, H, W]``.

    Returns:
        Images of the same shape and type; the denoiser may calculate in another one.

    Raises:
        InputError: If the denoiser returns something else.
    """
    denoised = denoiser(images)
    name = type(denoiser).__name__
    if not isinstance(denoised, Tensor) or denoised.shape != images.shape:
        got = list(denoised.shape) if isinstance(denoised, Tensor) else type(denoised).__name__
        remedy = "wrap it in a module that returns the images alone"
        if isinstance(denoised, Tensor) and denoised.ndim == 2:
            remedy = "that looks like logits; the denoiser comes first, Denoised(denoiser, network)"
        raise InputError(
            f"{name} must return images of the shape that it gets, {list(images.shape)}, got {got}: {remedy}"
        )
    if not denoised.is_floating_point():
        raise InputError(
            f"{name} must return real numbers in [0, 1], up to noise, got {denoised.dtype}: wrap it in a module that "
            "converts them, for bytes images.float() / 255"
        )
    return denoised.to(images.dtype)


def without_denoiser(network: nn.Module) -> nn.Module:
    """The classifier alone, which names the class of a clean image; a network without a denoiser is returned as it is.

    Args:
        network: The network.
    """
    return network.network if isinstance(network, Denoised) else network


def explained_part(network: nn.Module) -> str | None:
    """What a map explains if the network has a denoiser, in words; ``None`` for other networks.

    Args:
        network: The network.

    Raises:
        InputError: If a part of the network is denoised, but not the network itself: methods cannot see it there.

    Example:
        >>> explained_part(Denoised(nn.Identity(), nn.Identity()))
        'the classifier at the denoised image'
    """
    if isinstance(network, Denoised):
        return _EXPLAINED[network.explain_at]
    name = next((name for name, part in network.named_modules() if isinstance(part, Denoised)), None)
    if name is not None:
        raise InputError(
            f"{name} of {type(network).__name__} is Denoised, but methods explain a network at the denoised image only "
            "if Denoised is the outermost module: put it around everything else (around a compiled network, too)"
        )
    return None
