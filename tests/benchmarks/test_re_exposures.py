"""A re-exposure of the benchmark is what a camera writes: more light, clipped, rounded, and compressed."""

import torch

from benchmarks.re_exposures import exposed

IMAGE = torch.arange(3 * 16 * 16).reshape(3, 16, 16).remainder(256).float() / 255


def test_no_more_light_is_the_same_photograph():
    assert torch.equal(exposed(IMAGE, 0.0, jpeg=False), IMAGE)
    smooth = torch.linspace(0.2, 0.8, 16).expand(3, 16, 16)
    assert 0 < float((exposed(smooth, 0.0, jpeg=True) - smooth).abs().max()) < 0.02


def test_more_light_is_linear_clipped_and_rounded():
    brighter, darker = exposed(IMAGE, 1.0, jpeg=False), exposed(IMAGE, -1.0, jpeg=False)
    assert bool((brighter >= IMAGE).all())
    assert bool((darker <= IMAGE).all())
    assert float(brighter.max()) == 1
    for image in (brighter, darker):
        assert torch.equal((image * 255).round() / 255, image)
    # sRGB: twice the light of a grey of .5 is (2^(1 / 2.4) (.5 + .055) - .055).
    grey = exposed(torch.full((3, 2, 2), 127 / 255), 1.0, jpeg=False)
    assert abs(float(grey[0, 0, 0]) - (2 ** (1 / 2.4) * (127 / 255 + 0.055) - 0.055)) < 0.5 / 255
