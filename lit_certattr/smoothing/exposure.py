"""Noise of exposure: the image times a random factor, or a random smooth field."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.fields import FieldBudget, multiplied
from lit_certattr.budgets.modes import Group, each_channel, low_frequencies, stack, uniform
from lit_certattr.devices import constant, onto
from lit_certattr.errors import InputError
from lit_certattr.settings import whole_number
from lit_certattr.smoothing.transform import LARGEST_POWER, TransformNoise, check_spread


class ExposureNoise(TransformNoise):
    r"""The image times :math:`2^{\sum_k \tau_k \xi_k u_k}`, and pixel noise: exposure, white balance, shading.

    Theorem. With the length :math:`\ell` of :class:`~lit_certattr.budgets.FieldBudget`, all votes h satisfy
    :math:`h(x') \ge \Phi(\Phi^{-1}(h(x)) - \ell / \tau_1)` for :math:`x' = x\, 2^{\sum_k a_k u_k}`. Proof: given x, a
    noisy copy is one fixed function of the amounts :math:`c_k = \tau_k \xi_k` and of the pixel noise; at x' it is the
    same function of :math:`c_k + a_k`. So h(x') is the mean of one function into [0, 1] under Gaussian amounts that are
    shifted by a, whose length in standard deviations is :math:`\ell / \tau_1` (Neyman and Pearson). ∎ Assumption: the
    images as the network gets them are not clipped.

    All strengths are standard deviations in stops: one stop more is twice the light.

    Args:
        exposure: Strength of the factor that is the same for all values.
        white_balance: Strength of the factors of the single channels.
        shading: Strength of each smooth field of low frequency with values in [-1, 1]: light that falls off to one side
            or to the border, the bias field of a magnetic resonance image.
        shading_order: Largest frequency of these fields, in half waves across the image; 2 gives 5 fields.
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If no strength is given, or one is out of range.

    Example:
        >>> import torch
        >>> noise = ExposureNoise(exposure=0.5, sigma=0.1)
        >>> grey = torch.full((1, 8, 8), 0.4)
        >>> round(noise.budget.length(grey, 2 * grey), 4)  # one stop
        1.0
    """

    milder_alone: ClassVar[str] = "smaller strengths (exposure, white_balance, shading)"

    def __init__(
        self,
        exposure: float | None = None,
        white_balance: float | None = None,
        shading: float | None = None,
        shading_order: int = 2,
        sigma: float = 0.0,
    ) -> None:
        super().__init__(sigma)
        order = whole_number("shading_order", shading_order, least=1)
        groups = []
        if exposure is not None:
            groups.append(Group("exposure", check_spread("exposure", exposure, LARGEST_POWER), uniform))
        if white_balance is not None:
            groups.append(
                Group("white balance", check_spread("white_balance", white_balance, LARGEST_POWER), each_channel, True)
            )
        if shading is not None:
            fields = partial(low_frequencies, order=order)
            groups.append(Group("shading", check_spread("shading", shading, LARGEST_POWER), fields, True))
        if not groups:
            raise InputError(
                f"{type(self).__name__} needs at least one of exposure, white_balance and shading, in stops"
            )
        self._groups = tuple(groups)

    @property
    @override
    def budget(self) -> FieldBudget:
        return FieldBudget(self._groups, self.sigma)

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image for which there are too many fields, or none.

        Raises:
            InputError: If ``shading_order`` is too large, or the image too small for a smooth field.
        """
        try:
            if not self.size(image.shape):
                raise InputError("an image of 1 x 1 pixels has no shading: set exposure or white_balance")
        except InputError as error:
            raise InputError(f"image {name}: {error}") from None

    @override
    def size(self, shape: Sequence[int]) -> int:
        return len(stack(self._groups, tuple(shape)).names)

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        modes = stack(self._groups, tuple(images.shape[1:]))
        fields = constant(modes.fields, images, images.dtype)
        return multiplied(images, fields, onto(numbers * modes.tau, images, images.dtype))
