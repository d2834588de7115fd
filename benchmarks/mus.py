"""How many patches may change: the exact bound of ``PatchMaskNoise`` beside the radius of MuS, for the same votes.

    python -m benchmarks.mus

MuS (Xue, Alur, Wong, "Stability Guarantees for Feature Attributions with Multiplicative Smoothing", NeurIPS 2023, arXiv
2307.05902) smooths with the same masks, and bounds all changes of the mask at once by a Lipschitz constant: the class
stays while fewer than (pA - pB) / (2 lambda) features are revealed or removed. Here pA = L and pB = 1 - L. The exact
bound of the law tells removed, revealed and repainted patches apart, and covers repainting, which MuS does not.
"""

import math

from lit_certattr.budgets import PatchVotes

VOTES = (0.7, 0.9, 0.985, 0.999)
KEEPS = (0.125, 0.25, 0.5)


def mus_radius(vote: float, keep: float) -> float:
    """Radius of MuS for the vote of the class and the probability with which a feature is kept."""
    return (vote - (1 - vote)) / (2 * keep)


def removed(vote: float, keep: float) -> int:
    """Most patches that can be filled for good while a majority stands: 1 - (1 - L) / (1 - lambda)^r > 1/2."""
    return math.ceil(math.log(2 * (1 - vote)) / math.log1p(-keep)) - 1


def revealed(vote: float, keep: float) -> int:
    """Most patches that can be revealed where the image had the fill: (1 - lambda)^a L > 1/2."""
    return math.ceil(math.log(0.5 / vote) / math.log1p(-keep)) - 1


def repainted(vote: float, keep: float) -> int:
    """Most patches that can get any content: the radius of the law, rounded down."""
    return math.floor(float(PatchVotes(keep).radius(vote)))


def main() -> None:
    """Print the table."""
    print("| lambda | L | removed | revealed | repainted | MuS: (pA - pB) / (2 lambda) |")
    print("|---|---|---|---|---|---|")
    for keep in KEEPS:
        for vote in VOTES:
            counts = " | ".join(str(count(vote, keep)) for count in (removed, revealed, repainted))
            print(f"| {keep:g} | {vote:g} | {counts} | {math.floor(100 * mus_radius(vote, keep)) / 100:.2f} |")


if __name__ == "__main__":
    main()
