"""Pictures of claims that would show another mask or another box than what was certified."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim, ClaimCertificate, PercentileCertificate, PixelCertificate
from lit_certattr.certificates.claims_overlays import box_at, box_overlays, masks_overlays
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import Box, CentreOfMass, EnergyInside, Gini, MoreThan, PointingGame
from lit_certattr.regions import Grid
from lit_certattr.reports.figures import image_panel
from lit_certattr.smoothing import GaussianNoise

LEFT, CORNER = Box(0, 0, 1, 0.5), Box(0, 0, 0.25, 0.25)
IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def certified(certificates, attribution=None, samples=300):
    torch.manual_seed(0)
    certifier = Certifier(attribution or Gradient(), GaussianNoise(0.3), certificates, num_samples=samples)
    return certifier(SmallCNN(image_size=8).eval(), IMAGE)[0]


def drawn(overlay, height=16, width=16):
    """The axes after an overlay was painted over an image of another size than the map."""
    figure = Figure()
    axes, slot = figure.subplots(1, 2)
    axes.imshow(np.zeros((height, width)), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    overlay.paint(axes, slot)
    return axes, [text.get_text() for text in slot.get_legend().get_texts()]


def test_claims_about_one_mask_share_a_picture_that_shows_it():
    claims = [
        Claim("energy", EnergyInside(LEFT)),
        Claim("spread", Gini()),
        Claim("points", PointingGame(LEFT)),
        Claim("order", MoreThan(CORNER, LEFT)),
    ]
    result = certified([ClaimCertificate(claims)])["claims"]
    overlays = list(masks_overlays(result, ""))
    assert [overlay.title for overlay in overlays] == ["Mask: energy + 1", "Mask: order"]
    axes, legend = drawn(overlays[0])
    veil = axes.images[1].get_array()[..., 3]
    assert (veil[:, :4] == 0).all()
    assert (veil[:, 4:] > 0).all()
    assert legend == ["mask covers 50 %"]
    lines = np.concatenate([collection.get_segments() for collection in axes.collections])
    assert np.abs(np.diff(lines, axis=1)).sum() == pytest.approx(16 + 16 + 8 + 8)  # around the left half of the image
    assert drawn(overlays[1])[1] == ["first mask covers 6.25 %", "second mask covers 50 %"]


def test_a_mask_of_several_parts_is_outlined_everywhere():
    claims = [Claim("energy", EnergyInside(LEFT))]
    result = certified([ClaimCertificate(claims)])["claims"]
    result.masks[0] = torch.eye(8, dtype=torch.bool)
    axes, _ = drawn(next(masks_overlays(result, "")), 8, 8)
    lines = np.concatenate([collection.get_segments() for collection in axes.collections])
    assert np.abs(np.diff(lines, axis=1)).sum() == pytest.approx(8 * 4)


def test_the_box_of_the_centre_is_the_certified_one_on_the_scale_of_the_image():
    result = certified([PercentileCertificate(alpha=0.05)])["percentiles"]
    axes, legend = drawn(next(box_overlays(result, "")))
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    radii = (0.0, 0.075, 0.15)
    known = [box_at(result, 0, 1, radius) for radius in radii]
    assert sum(box is not None for box in known) == len(boxes) >= 2
    for box, patch in zip([box for box in known if box is not None][::-1], boxes, strict=True):
        upper, lower, first, last = box
        assert patch.get_xy() == pytest.approx((2 * (first + 0.5) - 0.5, 2 * (upper + 0.5) - 0.5))
        assert (patch.get_width(), patch.get_height()) == pytest.approx((2 * (last - first), 2 * (lower - upper)))
    assert len(legend) == 3
    assert legend[0] == "r = 0"


def test_where_nothing_is_certified_there_is_no_box():
    result = certified([PercentileCertificate(alpha=1e-6)], samples=60)["percentiles"]
    axes, legend = drawn(next(box_overlays(result, "")))
    assert legend[-1].endswith("no box")
    assert len(axes.patches) < 3


def test_one_budget_has_one_box_and_one_claim_of_the_centre_none():
    both = certified([PercentileCertificate(alpha=0.05, budget=0.1)])["percentiles"]
    assert drawn(next(box_overlays(both, "")))[1] == ["r = 0.1"]
    row = certified([PercentileCertificate([Claim("row", CentreOfMass("row"))], alpha=0.05)])["percentiles"]
    assert not list(box_overlays(row, ""))


def test_the_panel_of_an_image_shows_masks_and_boxes():
    claims = [Claim("a very long name of a claim that would cover its neighbours", EnergyInside(LEFT))]
    results = certified([ClaimCertificate(claims), PercentileCertificate()])
    parts = image_panel(IMAGE[0], results).subfigs
    titles = [axes.get_title().replace("\n", " ") for part in parts for axes in part.axes]
    assert "Mask: a very long name of a..." in titles
    assert "Centre of mass, the median" in titles


def test_shares_of_regions_are_not_called_shares_of_pixels():
    certificates = [PixelCertificate(top_k=(0.5,))]
    of_regions = image_panel(IMAGE[0], certified(certificates, RegionMap(Gradient(), Grid(4))))
    of_pixels = image_panel(IMAGE[0], certified(certificates, samples=400))
    labels = [
        {axes.get_ylabel() for part in panel.subfigs for axes in part.axes if "share" in axes.get_ylabel()}
        for panel in (of_regions, of_pixels)
    ]
    assert labels == [{"share of K", "share of all regions"}, {"share of K", "share of all pixels"}]
