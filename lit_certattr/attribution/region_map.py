"""Maps of regions around any method: one value per region in place of one per pixel."""

import copy
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.any_method import as_method
from lit_certattr.attribution.base import Attribution, graph_mode
from lit_certattr.attribution.fixed import Fixed
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions, as_masks, count_regions, members, same_partition, sizes_of
from lit_certattr.settings import instance

Pooling = Literal["mean", "sum"]


class RegionMap(Attribution):
    r"""The map of another method, averaged or summed over the regions of the image.

    .. math:: a_j(x) = \frac{1}{|R_j|} \sum_{i \in R_j} \mathrm{base}_i(x)

    The regions :math:`R_1, \dots, R_m` are chosen for the *clean* image (:meth:`placed`), before anything is sampled,
    and stay where they are: at noisy and at perturbed images the values are those of the same parts of the image plane.
    So a map of regions is one fixed function of the image, and all certificates hold for it. A pixel in several regions
    counts in each of them, a pixel in no region in none.

    Args:
        base: The method whose maps are pooled; its maps must have the size of the image.
        regions: What divides the image into regions.
        pooling: ``"mean"`` over the pixels of a region, or ``"sum"``, with which large regions count more.

    Raises:
        InputError: If an argument is of another kind; when called, if the regions depend on the image and
            :meth:`placed` was not called, or the maps of ``base`` have another size than the regions.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.regions import Grid
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> RegionMap(Gradient(), Grid(2))(net, torch.rand(5, 1, 4, 4), torch.zeros(5, dtype=torch.long)).shape
        torch.Size([5, 1, 4])
    """

    hands_on_network = True

    def __init__(self, base: Attribution, regions: Regions, pooling: Pooling = "mean") -> None:
        base = as_method(base)
        super().__init__(base.channels)
        instance("regions", regions, Regions, "Grid(7)")
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling!r}")
        self.base, self.regions, self.pooling = base, regions, pooling
        self._partition: Tensor | None = None
        self._fixed = Fixed()

    @property
    def needs_layers(self) -> bool:  # type: ignore[override]
        """Whether the base looks at layers."""
        return self.base.needs_layers

    @property
    def class_rule(self) -> str | None:  # type: ignore[override]
        """The class rule of the base."""
        return self.base.class_rule

    @property
    def partition(self) -> Tensor | None:  # type: ignore[override]
        """The regions of the image for which this method was placed; ``None`` before."""
        return self._partition

    @override
    def placed(self, image: Tensor, image_id: str) -> Self:
        if self._partition is not None:
            return self
        placed = copy.copy(self)
        placed._partition = self.regions.divide(image, image_id)
        placed._fixed = Fixed()
        return placed

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        if self._partition is None:
            if self.regions.of_image:
                raise InputError(
                    f"the regions of {type(self.regions).__name__} depend on the image: call placed(image, image_id) "
                    "with the clean image and use the method that it returns"
                )
            return self.placed(images[0], "of any id")(model, images, targets, create_graph)
        maps = self.base(model, images, targets, create_graph)
        if maps.shape[1:] != self._partition.shape[-2:]:
            raise InputError(
                f"RegionMap needs maps of the size of the regions, {list(self._partition.shape[-2:])}: "
                f"{type(self.base).__name__} gives {list(maps.shape[1:])}"
            )
        # Under autocast the sums would have 8 bits.
        with graph_mode(create_graph), torch.autocast(maps.device.type, enabled=False):
            maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
            sums = self._sums_in_order(maps) if maps.device.type == "cpu" else self._sums_by_product(maps)
            sizes = self._fixed.get_or_make(
                ("sizes", sums.dtype, sums.device), lambda: onto(sizes_of(self._asked), sums, sums.dtype)
            )
        return (sums / sizes if self.pooling == "mean" else sums)[:, None]

    @property
    def _asked(self) -> Tensor:
        assert self._partition is not None
        return self._partition

    def _sums_in_order(self, maps: Tensor) -> Tensor:
        """Sums over the regions ``[B, m]``, pixel after pixel: each is read once, and no map sees its neighbours.

        An accelerator would add in no fixed order, and give other bits each time.
        """
        pixels, regions = self._fixed.get_or_make("pixels", lambda: members(self._asked))
        read = maps.flatten(1) if pixels is None else maps.flatten(1)[:, pixels]
        count = self._fixed.get_or_make("count", lambda: count_regions(self._asked))
        sums = read.new_zeros(len(read), count + 1)  # the last one of pixels in no region
        return sums.scatter_add(1, regions.expand(len(read), -1), read)[:, :-1]

    def _sums_by_product(self, maps: Tensor) -> Tensor:
        """The same by one matrix product."""
        masks = self._fixed.get_or_make(
            (maps.dtype, maps.device),
            lambda: onto(as_masks(self._asked).flatten(1), maps, maps.dtype).T.contiguous(),
        )
        sums: Tensor = maps.flatten(1) @ masks
        return sums

    def __eq__(self, other: object) -> bool:
        if super().__eq__(other) is not True:
            return False
        assert isinstance(other, RegionMap)
        return same_partition(self._partition, other._partition)

    def __hash__(self) -> int:
        return super().__hash__()
