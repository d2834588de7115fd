"""The certified statistics of perturbed images, from noise that no search has used."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lit_certattr.certificates.quantity import Evaluation
from lit_certattr.certification import Certifier
from lit_certattr.devices import wide


def evaluate_candidates(
    certifier: Certifier,
    model: nn.Module,
    image: Tensor,
    candidates: Sequence[Tensor],
    target: int,
    image_id: str,
    on_block: Callable[[int], None] | None = None,
) -> list[Evaluation]:
    """Sample perturbed images, each with its own noise, and count what a run would count.

    Args:
        certifier: Certifier of the run, with another seed than the run; its stopping rules are not used.
        model: Network in eval mode, with frozen parameters.
        image: Clean image ``[C, H, W]``.
        candidates: Perturbed images ``[C, H, W]``.
        target: Class that is explained.
        image_id: Id of the image; candidate ``i`` gets the noise of ``(seed, "<id>+<i>")``.
        on_block: Called with the number of samples of each block.

    Returns:
        One evaluation per candidate, in the order of the candidates.
    """
    certifier = certifier.placed(image, image_id)  # a perturbed image keeps the regions of the clean one
    with torch.no_grad():
        maps = certifier.attribution(model, image[None].clone(), torch.tensor([target], device=image.device))
    turned = [name for name, one in certifier.certificates.items() if one.result.paired]
    images = {f"{image_id}+{index}": candidate for index, candidate in enumerate(candidates)}
    if turned:  # such a certificate is about both maps
        images[image_id] = image
    # All samples, the first half and the second.
    map_shape = (maps.shape[1], maps.shape[2])
    parts = [{name: certifier.start(one, map_shape) for name, one in images.items()} for _ in range(3)]
    products: dict[str, list[Tensor]] = {name: [] for name in images}
    middle = certifier.num_samples // 2
    for half, (start, end) in enumerate(((0, middle), (middle, certifier.num_samples)), start=1):
        streams = [certifier.blocks(model, one, target, name, start, end) for name, one in images.items()]
        for blocks in zip(*streams, strict=True):
            for name, block in zip(images, blocks, strict=True):
                for accumulator in (*parts[0][name].values(), *parts[half][name].values()):
                    accumulator.update(block)
                if on_block is not None:
                    on_block(len(block))
            if turned:
                clean = _normalised(blocks[-1].maps)
                for product, block in zip(products.values(), blocks, strict=True):
                    product.append((clean * _normalised(block.maps)).sum(1))
    results = [
        {name: {key: one.compute() for key, one in named.items()} for name, named in part.items()} for part in parts
    ]
    here = [part.pop(image_id, {}) for part in results]
    return [
        Evaluation(
            there,
            here[0],
            {key: torch.cat(products[name]).cpu() for key in turned},
            [(results[half][name], here[half]) for half in (1, 2)],
        )
        for name, there in results[0].items()
    ]


def _normalised(maps: Tensor) -> Tensor:
    """Maps as rows of length 1, in float64; zero where a map is zero."""
    rows = wide(maps.flatten(1))
    norms = rows.norm(dim=1, keepdim=True)
    return rows * torch.where(norms > 0, 1 / norms, 0.0)
