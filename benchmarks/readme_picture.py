"""The first picture of README: an explanation, what an attack makes of it, and what is certified at that budget.

    python -m benchmarks.readme_picture docs/images/first.png

EfficientNet-Lite0 explains "missile" for the photograph of a rocket by its gradient; both are part of packages that are
installed. The attack (Ghorbani et al., 2019) may change the image by an l2 length of ``BUDGET``, and the certificate is
read at the same radius. It is about the smoothed map, the attack about the plain one: this is what smoothing buys.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig, TopKMass, attack_explanation
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import Photographs
from lit_certattr.files.whole_file import write_whole
from lit_certattr.metrics.functional import top_k_intersection
from lit_certattr.models import EfficientNetLite0
from lit_certattr.reports.page import render
from lit_certattr.smoothing import GaussianNoise

BUDGET, TOP_K, SIGMA, NUM_SAMPLES = 0.1, 0.25, 0.25, 1000
IMPORTANT, UNIMPORTANT = (0.89, 0.25, 0.20), (0.16, 0.38, 0.65)


def compute() -> tuple[Tensor, Tensor, Tensor, PixelResult]:
    """The photograph, its map, the map of the attacked photograph, and the certificate."""
    photographs = Photographs()
    photographs.setup("predict")
    sample = photographs.predict_set[photographs.predict_set.ids.index("rocket")]
    network, method = EfficientNetLite0().eval(), Gradient()
    image = sample.image[None]
    with torch.no_grad():
        target = network(image).argmax(1)
    config = AttackConfig(eps=BUDGET, steps=100, seed=0)
    attacked = attack_explanation(network, method, image, target, TopKMass(TOP_K), config)
    clean, moved = method(network, image, target)[0], method(network, attacked, target)[0]
    noise, certificate = GaussianNoise(SIGMA), PixelCertificate(top_k=(TOP_K,), alpha=0.001)
    certifier = Certifier(method, noise, [certificate], num_samples=NUM_SAMPLES, batch_size=25, seed=0)
    result = certifier(network, image, target, ["rocket"])[0]["pixel"]
    assert isinstance(result, PixelResult)
    return sample.image, clean.detach(), moved.detach(), result


def draw(image: Tensor, clean: Tensor, moved: Tensor, result: PixelResult) -> Figure:
    """Four pictures side by side.

    Args:
        image: The photograph ``[3, H, W]``.
        clean: Its map ``[H, W]``.
        moved: The map of the attacked photograph ``[H, W]``.
        result: The certificate.
    """
    labels = result.labels_at(BUDGET)[0].numpy()
    kept = float(top_k_intersection(clean[None], moved[None], TOP_K))
    size = int(TOP_K * labels.size)
    important, unimportant = (labels == 1).sum() / size, (labels == 0).sum() / (labels.size - size)
    photo = image.permute(1, 2, 0).numpy()
    gray = np.repeat(photo.mean(2, keepdims=True), 3, axis=2) * 0.8 + 0.2
    shown = gray.copy()
    for label, colour in ((1, IMPORTANT), (0, UNIMPORTANT)):
        shown[labels == label] = 0.3 * gray[labels == label] + 0.7 * np.array(colour)

    figure = Figure(figsize=(12, 3.78), layout="constrained")
    slots = figure.subplots(1, 4)
    titles = (
        'A network says:\n"missile"',
        f"Its explanation: the {TOP_K:.0%} of the\npixels with the largest gradient",
        f"After a change that nobody sees\n(l2 length {BUDGET}), {kept:.0%} of them are left",
        "Certified for the smoothed map: what\nno change of this length can move",
    )
    tops = [top_mask(one) for one in (clean, moved)]
    for axes, title, picture in zip(slots, titles, (photo, *tops, shown), strict=True):
        axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, fontsize=11)
        axes.set(xticks=[], yticks=[], anchor="S")  # next to the legend
    figure.legend(
        handles=[
            Patch(color=IMPORTANT, label=f"stays important ({important:.0%} of the top {TOP_K:.0%})"),
            Patch(color=UNIMPORTANT, label=f"stays unimportant ({unimportant:.0%} of the rest)"),
            Patch(color=(0.6, 0.6, 0.6), label="nothing is proved"),
        ],
        loc="outside lower right",
        ncols=3,
        frameon=False,
        fontsize=10,
    )
    return figure


def top_mask(scores: Tensor) -> np.ndarray:
    """The top pixels of a map as 1, all others as 0.

    Args:
        scores: Map ``[H, W]``.
    """
    limit = scores.flatten().kthvalue(scores.numel() - int(TOP_K * scores.numel())).values
    return (scores > limit).numpy().astype(np.float64)


def main() -> None:
    """Compute, draw and write the picture, and print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="PNG file to write.")
    output = parser.parse_args().output
    found = compute()
    write_whole(output, render(draw(*found), dpi=110))
    print(found[3].statement(BUDGET))


if __name__ == "__main__":
    main()
