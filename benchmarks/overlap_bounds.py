"""What each bound of the overlap certificate costs.

    python -m benchmarks.overlap_bounds

Radius over sigma that is certified for a pixel of mean 0.30 against one of mean 0.05 among n pixels, at alpha = 0.05,
when the counts are as expected; and the number of samples with which each exact bound reaches the radius that
Hoeffding's bound has with 8192. "failures" lets 0.1 % of the pixels' bounds fail (1 % of K = 0.2 n in the second
table), which the certified overlap pays for. Samples that choose S are not counted. The one-number certificate
bounds no pixel: its table gives the overlap at radius 0.1 sigma for K = 0.2 n, whatever n is.
"""

from scipy.special import ndtri

from lit_certattr.certificates.overlap_bounds import bound_tables, displacement_radii_from_mass
from lit_certattr.statistics import chernoff_lower, hoeffding_bentkus_lower, hoeffding_margin

ALPHA, INSIDER, OUTSIDER = 0.05, 0.30, 0.05


def radius(num_samples: int, level: float, bound: str = "clopper_pearson") -> float:
    """Radius over sigma of the pair; negative where nothing is certified."""
    if bound == "chernoff":
        low = chernoff_lower(INSIDER, num_samples, level)
        high = 1 - chernoff_lower(1 - OUTSIDER, num_samples, level)
    elif bound == "hoeffding":
        margin = hoeffding_margin(num_samples, level)
        low, high = INSIDER - margin, OUTSIDER + margin
    else:
        lower, upper = bound_tables(num_samples, level, "clopper_pearson")
        low, high = lower[round(INSIDER * num_samples)], upper[round(OUTSIDER * num_samples)]
    return float(ndtri(low) - ndtri(high)) / 2 if low > 0 else -1.0


def samples_for(target: float, num_pixels: int, sides: int, failures: int) -> int:
    """Fewest samples, in steps of 16, with which the exact bound certifies ``target``."""
    num_samples = 64
    while radius(num_samples, ALPHA * (failures + 1) / (sides * num_pixels)) < target:
        num_samples += 16
    return num_samples


def main() -> None:
    """Print the three tables."""
    print(f"population {(ndtri(INSIDER) - ndtri(OUTSIDER)) / 2:.3f}")
    print("samples | n      | Hoeffding | Chernoff | exact | exact, fixed S | exact, failures")
    for num_pixels in (150528, 50176, 784, 196):
        failures = num_pixels // 1000
        for num_samples in (256, 1024, 8192):
            both, one = ALPHA / (2 * num_pixels), ALPHA / num_pixels
            radii = [radius(num_samples, both, bound) for bound in ("hoeffding", "chernoff", "exact")]
            radii += [radius(num_samples, one), radius(num_samples, both * (failures + 1))]
            cells = " | ".join("none" if value <= 0 else f"{value:.3f}" for value in radii)
            print(f"{num_samples:7d} | {num_pixels:6d} | {cells}")

    num_pixels = 150528
    target = round(radius(8192, ALPHA / (2 * num_pixels), "hoeffding"), 4)
    print(f"\nsamples that reach Hoeffding's radius with 8192, {target:.4f} sigma, n = {num_pixels}")
    rules = {"exact": (2, 0), "exact, 301 failures": (2, 301), "exact, 301 failures, fixed S": (1, 301)}
    for name, (sides, failures) in rules.items():
        print(f"  {name}: {samples_for(target, num_pixels, sides, failures)}")

    print("\none number: share of K that stays at radius 0.1 sigma, by the share of S in the noisy top-K sets")
    size = 10_035
    for share in (0.6, 0.7, 0.8, 0.9):
        kept = []
        for num_samples in (64, 256, 1024):
            lower = hoeffding_bentkus_lower(share, num_samples, ALPHA)
            kept.append((displacement_radii_from_mass(lower, size, 1.0) > 0.1).mean())
        print(f"  {share:.1f}: " + ", ".join(f"{value:.2f}" for value in kept) + "  (64, 256, 1024 samples)")


if __name__ == "__main__":
    main()
