"""Gaussian noise that also moves in the direction of nuisances: brightness, colour, illumination, the user's own."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets import EllipsoidBudget
from lit_certattr.budgets.modes import (
    Group,
    Modes,
    each_channel,
    file_digest,
    from_file,
    low_frequencies,
    stack,
    uniform,
)
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, whole_number
from lit_certattr.smoothing.noise import Noise, Perturb, normals_like, pixel_noise
from lit_certattr.smoothing.normals import NormalStream, few_normals


def check_tau(name: str, tau: float) -> float:
    """Check the strength of a nuisance, and return it as a float.

    Args:
        name: Name of the setting.
        tau: Standard deviation, from 1e-6 to 1e3.

    Raises:
        InputError: If it is not a number in that range.
    """
    if not 1e-6 <= real_number(name, tau) <= 1e3:
        raise InputError(f"{name} must lie between 1e-6 and 1e3, got {tau:g}; leave it out for none")
    return float(tau)


class NuisanceNoise(Noise):
    r"""Gaussian noise :math:`\sigma z + \sum_k \tau_k \xi_k u_k` with a part along fixed images :math:`u_k`, the modes.

    An l2 ball of radius .25 allows half a grey level for each value of a photograph of 224 x 224. A change of
    brightness by .1 has an l2 norm of 39 there, and no certificate for :class:`GaussianNoise` covers it. With a
    brightness mode of :math:`\tau = .2` its length is .125.

    Theorem. With :math:`\|\delta\|` the length of :class:`~lit_certattr.budgets.EllipsoidBudget`, all votes h satisfy
    :math:`h(x + \delta) \ge \Phi(\Phi^{-1}(h(x)) - \|\delta\|/\sigma)`, and every certificate that rests on this
    lemma holds with lengths in place of l2 norms. Proof: the noise is :math:`N(0, \Sigma)` with
    :math:`\Sigma = \sigma^2 I + \sum_k \tau_k^2 u_k u_k^T`; in the coordinates :math:`\Sigma^{-1/2} x` it is standard
    normal, and the change has the l2 norm :math:`(\delta^T \Sigma^{-1} \delta)^{1/2}`. ∎ The l2 norm of a change is at
    least its length, so the l2 radius stays what it would be.

    Args:
        sigma: Standard deviation of the part that is independent for each value, in pixel units; positive.
        brightness: Standard deviation of the mode that changes all values alike, in pixel units.
        colour_cast: Standard deviation of the modes that change one channel each, in pixel units.
        illumination: Standard deviation of each smooth field of low frequency with values in [-1, 1]: ramps, light that
            falls off to the border, additive bias fields; in pixel units.
        illumination_order: Largest frequency of these fields, in half waves across the image; 2 gives 5 fields.
        images: A ``.npy`` file with modes of your own, ``[m, C, H, W]`` or ``[m, H, W]``: a watermark, a sensor
            pattern, principal components of a variation that you have measured.
        images_tau: Standard deviation of the amount of each of them.
        images_sha256: Digest of the file; left out, it is computed, and recorded with every result.

    Raises:
        InputError: If no mode is given, a strength is out of range, or the file cannot be used.

    Example:
        >>> noise = NuisanceNoise(sigma=0.25, brightness=0.2)
        >>> grey = torch.full((1, 8, 8), 0.5)
        >>> noise, round(noise.budget.length(grey, grey + 0.1), 4)
        (NuisanceNoise(sigma=0.25, brightness=0.2, ...), 0.1235)
    """

    def __init__(
        self,
        sigma: float,
        brightness: float | None = None,
        colour_cast: float | None = None,
        illumination: float | None = None,
        illumination_order: int = 2,
        images: str | None = None,
        images_tau: float | None = None,
        images_sha256: str | None = None,
    ) -> None:
        super().__init__(sigma)
        order = whole_number("illumination_order", illumination_order, least=1)
        if (images is None) != (images_tau is None):
            raise InputError("images and images_tau must be given together: the file of modes, and their strength")
        self.images_sha256 = images_sha256
        groups = []
        if brightness is not None:
            groups.append(Group("brightness", check_tau("brightness", brightness), uniform))
        if colour_cast is not None:
            groups.append(Group("colour cast", check_tau("colour_cast", colour_cast), each_channel, True))
        if illumination is not None:
            fields = partial(low_frequencies, order=order)
            groups.append(Group("illumination", check_tau("illumination", illumination), fields, True))
        if images is not None and images_tau is not None:
            self.images_sha256 = images_sha256 or file_digest(images)
            own = partial(from_file, path=images, sha256=self.images_sha256)
            groups.append(Group("the modes of the file", check_tau("images_tau", images_tau), own, True))
        if not groups:
            raise InputError(
                f"{type(self).__name__} needs at least one of brightness, colour_cast, illumination and images; for "
                "noise without them use GaussianNoise"
            )
        self._groups = tuple(groups)

    @property
    @override
    def milder(self) -> str:
        return "a smaller sigma or weaker modes"

    @property
    @override
    def budget(self) -> EllipsoidBudget:
        return EllipsoidBudget(self.sigma, self._groups)

    def modes(self, shape: Sequence[int]) -> Modes:
        """The modes for images of one shape.

        Args:
            shape: Shape ``(C, H, W)``.
        """
        return stack(self._groups, tuple(shape))

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image for which there are no modes.

        Raises:
            InputError: If the modes of the file have another size, or the file has changed.
        """
        try:
            self.modes(image.shape)
        except InputError as error:
            raise InputError(f"image {name}: {error}") from None

    def _scaled(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """The modes times their standard deviations ``[m, C, H, W]``, on a device and in a type."""
        modes = self.modes(shape)
        return (modes.fields * modes.tau[:, None, None, None]).to(like.device, like.dtype)

    @override
    def for_image(self, image: Tensor) -> Perturb:
        wide = image if image.element_size() >= 4 else image.float()
        flat = wide.permute(1, 2, 0).reshape(-1)
        fields = self._scaled(image.shape, wide).permute(0, 2, 3, 1).flatten(1)

        def perturb(out: Tensor, normals: NormalStream, start: int) -> Tensor:
            noisy = pixel_noise(out, normals, start, self.sigma).add_(flat)
            amounts = onto(torch.from_numpy(few_normals(normals.key, start, len(out), len(fields))), noisy, noisy.dtype)
            for mode, field in enumerate(fields):  # element by element: a matrix product would depend on the batch
                noisy.addcmul_(amounts[:, mode : mode + 1], field)
            return noisy if noisy is out else out.copy_(noisy)

        return perturb

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        raise InputError(f"{type(self).__name__} needs the shape of the image: use for_image(image)")

    @override
    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        return f"{normals.generator}; amounts of modes: philox4x64, box-muller 53 bit, numpy"

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        fields = self._scaled(images.shape[1:], images)
        shape = len(images), len(fields)
        amounts = torch.randn(shape, dtype=images.dtype, device=images.device, generator=generator)
        return normals_like(images, generator) * self.sigma + torch.einsum("bm,mchw->bchw", amounts, fields)
