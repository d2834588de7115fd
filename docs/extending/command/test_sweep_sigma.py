from sweep_sigma import sweep

from lit_certattr.attribution import Gradient
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN


def test_each_sigma_has_a_run_and_a_number(tmp_path):
    found = sweep(SmallCNN(image_size=8), Digits(max_images=2), Gradient(), [0.1, 0.2], tmp_path, num_samples=100)
    assert list(found) == [0.1, 0.2]
    assert (tmp_path / "sigma_0.1" / "report.html").exists()
    # With a linear rule of the radius in sigma, and nearly the same votes, more noise certifies farther here.
    assert all(value >= 0 for value in found.values())
