"""Lower bounds of the mean of a number in [0, 1]: betting against exact bounds of dithered numbers.

python -m benchmarks.claim_bounds
"""

import numpy as np

from lit_certattr.statistics import betting_lower, clopper_pearson_lower

LEVEL = 0.0005
REPETITIONS = {100: 40, 1000: 8}
BETA = {
    "Beta(30, 20)": (30.0, 20.0),
    "Beta(2, 5)": (2.0, 5.0),
    "uniform": (1.0, 1.0),
    "Beta(.3, .3)": (0.3, 0.3),
    "Beta(.05, .05), nearly 0/1": (0.05, 0.05),
}


def main() -> None:
    """Print the table: means over the repetitions."""
    generator = np.random.default_rng(0)
    print("| distribution of the number | mean | n = 100: betting | dithered | n = 1000: betting | dithered |")
    print("|---|---|---|---|---|---|")
    for name, parameters in [*BETA.items(), ("0/1", None)]:
        mean = 0.7 if parameters is None else parameters[0] / sum(parameters)
        cells = []
        for n, repetitions in REPETITIONS.items():
            drawn = [
                generator.binomial(1, mean, n).astype(float) if parameters is None else generator.beta(*parameters, n)
                for _ in range(repetitions)
            ]
            ones = [int((values > generator.random(n)).sum()) for values in drawn]
            cells.append(np.mean([betting_lower(values, LEVEL) for values in drawn]))
            cells.append(np.mean([clopper_pearson_lower(count, n, LEVEL) for count in ones]))
        row = " | ".join(f"{value:.3f}".lstrip("0") for value in (mean, *cells))
        print(f"| {name} | {row} |")


if __name__ == "__main__":
    main()
