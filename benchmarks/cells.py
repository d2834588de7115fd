"""One story from images to a certified sentence: "at least half of the map lies on the cell", as a curve over radii.

    python -m benchmarks.cells bccd FOLDER --output runs/benchmarks/cells
    python -m benchmarks.cells coins --output runs/benchmarks/coins

The first needs BCCD (Blood Cell Count and Detection, MIT licence): its images at half size, and a table ``boxes.csv``
of image, split, label, x0, y0, x1, y1. The second makes its images of those in scikit-image. Both write images and
masks to ``OUTPUT/lesions``, train a network on them (``train.py fit``), certify the test images that hold an object
(``certify.py run`` with configs/certify/lesion.yaml), attack what is certified (``certify.py attack``), print a table,
and draw ``OUTPUT/cells.png``. Finished steps are not done again.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.cell_images import SIDE, blood_cells, coins, write
from lit_certattr.certificates.claims_overlays import masks_overlays
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.cli.certify import main as certify
from lit_certattr.records import RunDirectory
from lit_certattr.statistics import clopper_pearson_interval
from lit_certattr.statistics.rounding import at_least, fixed_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIGMA = {"bccd": 0.25, "coins": 0.1}
BUDGETS = (0.2, 0.4, 0.8)
RADII = np.linspace(0, 0.9, 181)
COLOURS = ("#1f6f8b", "#842E6A")


def main(args: Sequence[str] | None = None) -> None:
    """Run the story, as far as it is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SIGMA))
    parser.add_argument("folder", nargs="?", type=Path, help="folder of BCCD")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=60, help="test images to certify")
    parser.add_argument("--attacked", type=int, default=12, help="how many of them to attack")
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args(args)
    if (asked.data == "bccd") != (asked.folder is not None):
        parser.error("give the folder of BCCD with bccd, and none with coins")
    pieces = blood_cells(asked.folder.resolve()) if asked.data == "bccd" else coins()
    asked.output.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.output)  # the paths of the configuration are relative
    if not Path("lesions/masks/instances.json").exists():
        print(write(pieces, Path("lesions")))
    sigma = SIGMA[asked.data]
    if not Path("runs/lesion/checkpoints/last.ckpt").exists():
        fit(sigma, asked.epochs)
    ids = [f"test__cell__{path.name}" for path in sorted(Path("lesions/images/test/cell").iterdir())]
    chosen = ids[:: max(1, len(ids) // asked.images)][: asked.images]
    certify(
        [
            "run",
            f"--config={CONFIGS / 'certify' / 'lesion.yaml'}",
            f"--certifier.noise.init_args.sigma={sigma}",
            f"--ids=[{','.join(chosen)}]",
        ]
    )
    run = RunDirectory("runs/certify/lesion")
    settings = {"budgets": list(BUDGETS), "max_images": asked.attacked, "draws": 8, "judge_draws": 8}
    certify(["attack", str(run.path), "--search.steps=10", *(f"--{key}={value}" for key, value in settings.items())])
    results: list[Any] = [record.results["claims"] for record in run.records(chosen)]
    attacked = pq.read_table(run.attacks.table).to_pylist()
    print_table(results, attacked)
    draw(run, chosen, results, attacked).savefig("cells.png", dpi=110)
    print(Path("cells.png").resolve())


def fit(sigma: float, epochs: int) -> None:
    """Train a small network on the images, with noise of the level of the certificate.

    Args:
        sigma: Standard deviation of the noise.
        epochs: Number of epochs.
    """
    settings = {
        "data.init_args.root": "lesions/images",
        "data.init_args.size": SIDE,
        "data.init_args.batch_size": 32,
        "data.init_args.num_workers": 0,
        "model.net.init_args.image_size": SIDE,
        "model.net.init_args.in_channels": 3,
        "model.net.init_args.num_classes": 2,
        "model.net.init_args.width": 16,
        "model.objective.init_args.noise.init_args.sigma": sigma,
        "model.scheduler.init_args.T_max": epochs,
        "trainer.max_epochs": epochs,
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": "runs/lesion",
        "trainer.logger.init_args.name": "lesion",
        "trainer.callbacks.init_args.dirpath": "runs/lesion/checkpoints",
        "trainer.enable_progress_bar": "false",
    }
    layers = [f"--config={CONFIGS / layer}.yaml" for layer in ("train/digits_noise", "data/image_folder")]
    words = ["fit", *layers, *(f"--{key}={value}" for key, value in settings.items())]
    subprocess.run([sys.executable, str(CONFIGS.parent / "train.py"), *words], check=True)


def survivors(attacked: list[dict[str, Any]], claim: str, least: float, budget: float) -> list[bool]:
    """For each attacked image, whether its number is still at least a bound under the worst perturbation found.

    Args:
        attacked: Rows of the table of attacks.
        claim: Name of the claim.
        least: The bound.
        budget: l2 length of the perturbations.
    """
    own = [row for row in attacked if row["claim"] == claim and row["quantity"] == "number"]
    return [row["attacked"] >= least for row in own if row["budget"] == budget]


def print_table(results: list[ClaimsResult], attacked: list[dict[str, Any]]) -> None:
    """The share of images whose claim is certified at each budget, beside the share that survives the attack.

    Args:
        results: The claims of each image.
        attacked: Rows of the table of attacks.
    """
    first = results[0]
    print("| claim | mask covers | mean at the image, at least |", " | ".join(f"r = {b:g}" for b in BUDGETS), "|")
    print("|---|" + "---|" * (2 + len(BUDGETS)))
    for claim, name in enumerate(first.names):
        covered = np.mean([one.covered(claim) for one in results])
        low = float(np.mean([one.interval(claim).low for one in results]))
        cells = []
        for budget in BUDGETS:
            holds = np.mean([one.holds(claim, budget) for one in results])
            left = survivors(attacked, name, first.at_least[claim], budget)
            cells.append(f"{100 * holds:.0f} % / {100 * np.mean(left):.0f} %")
        print(f"| {name} | {100 * covered:.0f} % | {fixed_at_least(low)} | {' | '.join(cells)} |")
    accuracies = [one.noisy_accuracy for one in results if one.noisy_accuracy is not None]
    print(f"{len(results)} images, {first.num_samples} samples each; certified / left under attack.")
    print(f"noisy accuracy {np.mean(accuracies):.3f}; {sum(row['contradicted'] for row in attacked)} contradictions")


def draw(run: RunDirectory, ids: Sequence[str], results: list[ClaimsResult], attacked: list[dict[str, Any]]) -> Any:
    """Three images with their masks and smoothed maps, and the curves of both claims with the attack.

    Args:
        run: The run.
        ids: Ids of its images.
        results: The claims of each image.
        attacked: Rows of the table of attacks.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    grid = figure.add_gridspec(2, 5, width_ratios=(1, 1, 1, 0.15, 3.2))
    for column, image_id in enumerate(ids[:: max(1, len(ids) // 3)][:3]):
        record = run.read(image_id)
        result: Any = record.results["claims"]
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        above.imshow(record.image.permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        next(masks_overlays(result, "")).paint(above, figure.add_axes((2, 2, 1, 1)))  # the legend is not shown
        below.imshow(result.mean.numpy(), cmap="gray_r", interpolation="nearest")
        for axes in (above, below):
            axes.axis("off")
        above.set_title(f"certified up to {at_least(result.radius(0), 2)}", fontsize=8)
    _curves(figure.add_subplot(grid[:, 4]), results, attacked)
    return figure


def _curves(axes: "Axes", results: list[ClaimsResult], attacked: list[dict[str, Any]]) -> None:
    """Share of the images whose claim holds at each radius, with its 95 % interval, and what attacks leave."""
    for claim, (name, colour) in enumerate(zip(results[0].names, COLOURS, strict=False)):
        holds = np.array([[one.holds(claim, radius) for radius in RADII.tolist()] for one in results])
        low, high = np.array([clopper_pearson_interval(int(count), len(results)) for count in holds.sum(0)]).T
        axes.plot(RADII, holds.mean(0), color=colour, label=f"{name}: certified")
        axes.fill_between(RADII, low, high, color=colour, alpha=0.15, linewidth=0)
        left = [np.mean(survivors(attacked, name, results[0].at_least[claim], budget)) for budget in BUDGETS]
        axes.plot(BUDGETS, left, "v--", color=colour, linewidth=1, label="left under attack")
    axes.set(xlim=(0, RADII[-1]), ylim=(-0.02, 1.02), xlabel="l2 radius (pixel units)", ylabel="share of the images")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.8))


if __name__ == "__main__":
    main()
