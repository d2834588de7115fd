"""What an installation weighs: the core beyond torch and the packages that every user of it has, and each extra.

    python -m benchmarks.install_size

Reads ``pyproject.toml``, follows the dependencies through the metadata of what is installed here, and adds up the disk
blocks of the files of each distribution. The environment must hold all extras (``pip install '.[all]'``).
"""

import argparse
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NAME = "lit-certattr"
GIVEN = ("lightning", "torch", "torchvision", "torchmetrics", "wandb", "scipy", "einops")
"""What the size is counted beyond, with all that these need."""


def closure(requirements: Iterable[str], own: dict[str, list[str]] | None = None) -> set[str]:
    """Names of the distributions that requirements bring, directly or indirectly.

    Args:
        requirements: Requirements as in ``pyproject.toml``.
        own: The extras of this package, which are read from ``pyproject.toml``, not from what is installed.
    """
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {known for other, known in found if other == name}:
            found.add((name, extra))
            below = (own or {}).get(extra, []) if name == NAME else distribution(name).requires or []
            for text in below:
                one = Requirement(text)
                if one.marker is None or one.marker.evaluate({"extra": extra}):
                    waiting.append(one)
    return {name for name, _ in found} - {NAME}


def size(name: str) -> int:
    """Bytes on the disk, in whole blocks, of the files of a distribution.

    Args:
        name: Name of the distribution.
    """
    places = (Path(str(file.locate())) for file in distribution(name).files or [])
    return sum(place.stat().st_blocks * 512 for place in places if place.is_file())


def main() -> None:
    """Print a table in Markdown, and the largest distributions of the core."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    given = closure(GIVEN)
    core = closure(project["dependencies"]) - given
    names = [*sorted(set(extras) - {"all", "dev", "docs"}), "all"]
    brought = {"core": core} | {name: closure(extras[name], extras) - given - core for name in names}
    whole = sum(map(size, core | brought["all"]))
    print(f"Beyond {', '.join(GIVEN)} and what these need ({sum(map(size, given)) / 2**20:,.0f} MiB):\n")
    print("| | MiB | share | largest |\n|---|---|---|---|")
    for name, packages in brought.items():
        sizes = {one: size(one) for one in packages}
        largest = ", ".join(
            f"{one} {sizes[one] / 2**20:.0f}" for one in sorted(sizes, key=sizes.__getitem__)[-4:][::-1]
        )
        total = sum(sizes.values())
        label = "core" if name == "core" else f"+ `[{name}]`"
        print(f"| {label} | {total / 2**20:.0f} | {100 * total / whole:.0f} % | {largest} |")


if __name__ == "__main__":
    main()
