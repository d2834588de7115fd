r"""The weights of ``UNetDenoiser(weights="photographs")``: ``make denoiser`` runs these steps, but the last.

python -m benchmarks.denoiser collect data/denoiser
python train.py fit --config configs/train/denoiser.yaml --data.init_args.root data/denoiser
python -m benchmarks.denoiser export runs/denoiser/checkpoints/best.ckpt
python -m benchmarks.denoiser measure data/denoiser
"""

import argparse
import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

import skimage.data
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import lit_certattr.models
from lit_certattr.data import ImagePatches, Photographs
from lit_certattr.models import UNetDenoiser, load_network

WEIGHTS = Path(lit_certattr.models.__file__).parent / "weights" / "photographs.safetensors"

# Of the package mvtb-data (MIT licence): photographs by its author, Peter Corke. Left out: drawings, patterns, frames
# of films, and pictures of others (lena, monalisa, 58060, wally, ...).
CORKE = (
    *("building2-3.png", "church.jpg", "eiffel-*.png", "flowers*.png", "greenscreen.png", "lab-scene.png"),
    *("notre-dame.png", "parks.png", "road.png", "rocks2-*.png", "roof.png", "tomato_*.png", "walls-*.png"),
    *("yellowtargets.png", "campus/*.png", "campus/holdout/*.png", "mosaic/aerial-*.png"),
)
# Of scikit-image: photographs under CC0, or without known copyright restrictions (coins). Those of
# lit_certattr.data.Photographs are test images, and train nothing.
SKIMAGE = ("brick", "coins", "grass", "gravel")

SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75)
COPIES = 4


def corke_images() -> Path:
    """The folder ``images`` of mvtb-data."""
    spec = importlib.util.find_spec("mvtbdata")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package mvtb-data is missing: pip install mvtb-data==1.6.1")
    return Path(spec.submodule_search_locations[0]) / "images"


def collect(target: Path) -> None:
    """Copy the photographs that train the denoiser to a folder."""
    images = corke_images()
    for pattern in CORKE:
        for path in sorted(images.glob(pattern)):
            copy = target / "mvtb-data" / path.relative_to(images)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    (target / "scikit-image").mkdir(parents=True, exist_ok=True)
    for name in SKIMAGE:
        Image.fromarray(getattr(skimage.data, name)()).save(target / "scikit-image" / f"{name}.png")


def export(checkpoint: Path) -> None:
    """Write the weights of a checkpoint as float16 into the package."""
    weights = {name: value.half().contiguous() for name, value in load_network(checkpoint).state_dict().items()}
    assert all(bool(value.isfinite().all()) for value in weights.values())
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(weights, WEIGHTS)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size} bytes")


def psnr(denoiser: UNetDenoiser, images: Iterable[Tensor], sigma: float) -> tuple[float, float]:
    """PSNR in dB of noisy and of denoised copies, over all pixels of all images together."""
    generator = torch.Generator().manual_seed(0)
    errors, pixels = torch.zeros(2, dtype=torch.float64), 0
    for image in images:
        copies = image + sigma * torch.randn(COPIES, *image.shape, generator=generator)
        with torch.no_grad():
            denoised = denoiser(copies)
        errors += torch.stack([(one - image).double().square().sum() for one in (copies, denoised)])
        pixels += copies.numel()
    noisy, clean = (-10 * (errors / pixels).log10()).tolist()
    return noisy, clean


def measure(root: Path) -> None:
    """PSNR at several sigma: of the seven photographs of the tests, and of the images held out of the training."""
    photographs, held_out = Photographs(), ImagePatches(str(root), val_size=224)
    photographs.setup("test")
    held_out.setup("fit")
    assert photographs.test_set is not None
    assert held_out.val_set is not None
    denoiser = UNetDenoiser(weights="photographs").eval()
    both = (photographs.test_set, held_out.val_set)
    sets = [[samples[index].image for index in range(len(samples))] for samples in both]
    counts = [len(images) for images in sets]
    print(f"| sigma | {counts[0]} packaged photographs: noisy | denoised | {counts[1]} held out: noisy | denoised |")
    print("|---|---|---|---|---|")
    for sigma in SIGMAS:
        values = [value for images in sets for value in psnr(denoiser, images, sigma)]
        print(f"| {sigma} | {' | '.join(f'{value:.1f}' for value in values)} |")


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = {"collect": collect, "export": export, "measure": measure}
    parser.add_argument("step", choices=list(steps))
    parser.add_argument("path", type=Path, help="folder of the photographs; for export, the checkpoint")
    args = parser.parse_args()
    steps[args.step](args.path)


if __name__ == "__main__":
    main()
