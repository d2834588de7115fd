"""What Holm's step-down test adds to claims that share alpha by their weights, and what it costs.

    python -m benchmarks.claim_holm

Each row: claims "at least one half" about 0/1 numbers with independent means, uniform in an interval, 200 samples,
alpha = .001, sigma = .25, the test at radius .10 (a mean of .66 suffices there). "hold" is the share of the claims that
hold at this radius, "radius" the mean radius up to which a claim holds (0 where it does not), both over 2,000 images.
"""

import numpy as np
from scipy.special import ndtri

from lit_certattr.statistics import clopper_pearson_lower, shift, step_down_bounds

ALPHA, SIGMA, RADIUS, IMAGES, SAMPLES = 0.001, 0.25, 0.10, 2000, 200
MEANS = ((0.5, 1.0), (0.75, 0.85), (0.8, 0.95))


def measure(claims: int, ends: tuple[float, float], generator: np.random.Generator) -> tuple[list[float], list[float]]:
    """Shares of claims that hold at the radius, and mean radii: by weights alone, and by Holm's test."""
    level = ALPHA / 2 / claims  # the other half is for the other side
    threshold = float(shift(0.5, RADIUS / SIGMA))
    lower: list[list[list[float]]] = [[], []]
    for _ in range(IMAGES):
        counts = generator.binomial(SAMPLES, generator.uniform(*ends, claims)).tolist()
        bounds = [lambda one, k=count: float(clopper_pearson_lower(k, SAMPLES, one)) for count in counts]
        lower[0].append([bound(level) for bound in bounds])
        lower[1].append(step_down_bounds(bounds, [threshold] * claims, [level] * claims))
    found = np.array(lower)
    radii = SIGMA * np.maximum(0, ndtri(found.clip(1e-9)))
    return (found >= threshold).mean((1, 2)).tolist(), radii.mean((1, 2)).tolist()


def main() -> None:
    """Print the table."""
    generator = np.random.default_rng(0)
    print("| means | claims | hold: weights | Holm | radius: weights | Holm |")
    print("|---|---|---|---|---|---|")
    for ends in MEANS:
        for claims in (2, 5, 10):
            hold, radius = measure(claims, ends, generator)
            cells = [f"{100 * value:.1f} %" for value in hold] + [f"{value:.3f}".lstrip("0") for value in radius]
            print(f"| {ends[0]:g} to {ends[1]:g} | {claims} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
