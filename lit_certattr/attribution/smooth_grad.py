"""SmoothGrad around any method."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.any_method import as_method
from lit_certattr.attribution.base import Attribution, graph_mode, ordinary
from lit_certattr.attribution.batching import check_max_batch, tiled
from lit_certattr.errors import InputError
from lit_certattr.smoothing import Noise, NuisanceNoise, TransformNoise, normal_stream


class SmoothGrad(Attribution):
    r"""The mean map of noisy copies of the image (Smilkov et al., 2017), around any method.

    .. math:: h(x) = \frac{1}{m} \sum_{j=1}^{m} \mathrm{base}(x + e_j)

    The :math:`e_1, \dots, e_m` are drawn once and for all from ``seed``: the same for all images, batches and calls.
    So h is one fixed function of the image, as certificates require, and its noise is independent of the noise
    of the smoothing around it. The maps of ``base`` are averaged after its channel reduction: a base
    with ``channels="sum"`` averages signed maps.

    Args:
        base: The method whose maps are averaged.
        noise: Noise law of the copies, of single pixels; not one that transforms the image or adds modes.
        draws: Number m of copies, at least 1; the cost is m base maps.
        seed: Seed of the copies' noise.
        max_batch: Most images given to ``base`` at once; ``None`` finds the largest number that fits.

    Raises:
        InputError: If ``draws`` or ``max_batch`` is below 1, or the law is of another kind.

    Example:
        >>> import torch
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> from lit_certattr.models import SmallCNN
        >>> net, images = SmallCNN().eval(), torch.rand(2, 1, 28, 28)
        >>> SmoothGrad(Gradient(), GaussianNoise(0.1), draws=4)(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 28, 28])
    """

    hands_on_network = True

    def __init__(
        self, base: Attribution, noise: Noise, draws: int = 16, seed: int = 0, max_batch: int | None = None
    ) -> None:
        base = as_method(base)
        super().__init__(base.channels)
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        if isinstance(noise, NuisanceNoise | TransformNoise):
            raise InputError(
                f"SmoothGrad adds noise of single pixels, not that of {noise}: use GaussianNoise, or another law that "
                "does not transform the image"
            )
        check_max_batch(max_batch)
        self.base, self.noise, self.draws, self.seed, self.max_batch = base, noise, draws, seed, max_batch

    @property
    def needs_layers(self) -> bool:  # type: ignore[override]
        """Whether the base looks at layers."""
        return self.base.needs_layers

    @property
    def class_rule(self) -> str | None:  # type: ignore[override]
        """That of the base."""
        return self.base.class_rule

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            # No image is called that, so no image's own noise is ever repeated here.
            normals = normal_stream(self.seed, "\x00SmoothGrad", images.device)
            zeros = images.new_zeros(images[0].numel())
            total: list[Tensor] = []

            def add(rows: slice, draws: slice) -> None:
                count = draws.stop - draws.start
                noise = self.noise.perturb_(zeros.new_empty(count, len(zeros)), zeros, normals, draws.start)
                copies = images[rows] + noise.view(count, 1, *images.shape[1:])
                maps = self.base(model, copies.flatten(0, 1), targets[rows].repeat(count), create_graph)
                if not total:
                    total.append(maps.new_zeros(len(images), *maps.shape[1:]))
                total[0][rows] += maps.unflatten(0, (count, -1)).sum(0)

            tiled(add, len(images), self.draws, model=model, images=images, max_batch=self.max_batch)
            return total[0] / self.draws
