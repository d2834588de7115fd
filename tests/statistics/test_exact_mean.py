"""The mean that keeps no number."""

import math
import random

import pytest

from lit_certattr.statistics.exact_mean import ExactMean


@pytest.mark.parametrize("seed", range(20))
def test_it_has_the_bits_of_a_sum_of_all_numbers_that_is_rounded_once(seed):
    draw = random.Random(seed)
    numbers = [
        draw.choice((-1, 1)) * draw.random() * 2.0 ** draw.randint(-1074, 900) for _ in range(draw.randint(1, 99))
    ]
    numbers += [0.0, -0.0, 5e-324, 1 / 3, *(-number for number in numbers[::2])]
    mean = ExactMean()
    for number in numbers:
        mean.add(number)
    assert mean.value == math.fsum(numbers) / len(numbers)
    assert mean.count == len(numbers)
