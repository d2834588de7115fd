"""Results show themselves: short in a shell, as a table with a figure in a notebook."""

import base64
import re
from io import BytesIO

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from lit_certattr import certify
from lit_certattr.attribution import CaptumAttribution
from lit_certattr.certificates import CosineCertificate, PixelCertificate
from lit_certattr.interactive import CertifiedImages

torch.manual_seed(0)
NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).eval()
IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def drowned(model, images, targets):
    """A map of which noise leaves nothing."""
    return (50 * images).sin().sum(1)


def constant(model, images, targets):
    return torch.zeros_like(images[:, 0])


@pytest.fixture(scope="module")
def certified():
    return certify(NET, IMAGES, class_names=["<b>a</b>", "b", "c", "d", "e"], num_samples=60, progress=False)


@pytest.fixture(scope="module")
def empty():
    return certify(NET, IMAGES[0], attribution=drowned, noise=3.0, num_samples=60, progress=False)


def words_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))).replace("\n", " ")


def test_a_result_is_a_line(certified):
    text = repr(certified[0]["pixel"])
    assert re.fullmatch(
        r"PixelResult\(.* of the top 10 % certified important; Gradient, GaussianNoise with sigma = 0.25, 60 samples\)",
        text,
    )
    assert len(text) < 250
    assert "tensor(" not in repr(certified[0]["topk_overlap"])


@pytest.mark.parametrize(("attribution", "name"), [(drowned, "drowned"), (CaptumAttribution("Saliency"), "Saliency")])
def test_what_wraps_a_method_is_shown_by_its_name(attribution, name):
    found = certify(NET, IMAGES[0], attribution=attribution, num_samples=60, progress=False)
    assert f"; {name}, GaussianNoise" in repr(found["pixel"])


def test_an_image_is_a_line_per_certificate(certified):
    lines = repr(certified[0]).splitlines()
    assert lines[0].startswith("CertifiedImage('image 0', ")
    assert [line.partition(":")[0].strip() for line in lines[1:]] == ["pixel", "topk_overlap"]
    assert len(repr(certified).splitlines()) == 4
    assert repr(CertifiedImages([])) == "CertifiedImages(0 images)"
    many = CertifiedImages([certified[0]] * 30)
    assert repr(many).endswith("... and 20 more")


def test_html_holds_a_table_and_a_picture_and_is_escaped(certified):
    named = certify(NET, IMAGES[0], 0, class_names=["<b>a</b>", "b", "c", "d", "e"], num_samples=60, progress=False)
    whole, several = named._repr_html_(), CertifiedImages([named])._repr_html_()
    for shown in (whole, several, named["pixel"]._repr_html_()):
        assert shown.startswith("<table>")
        assert "<b>a" not in shown
    assert "&lt;b&gt;a&lt;/b&gt; (0)" in whole
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', whole)
    assert Image.open(BytesIO(base64.b64decode(data))).size[0] > 300
    assert named["pixel"].statement()[:40] in whole
    table = certified._repr_html_()
    assert table.count("<tr>") == 4
    assert CertifiedImages([])._repr_html_() == "<p>CertifiedImages(0 images)</p>"


def test_numbers_as_a_table(certified):
    frame = certified.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.id.unique().tolist() == ["image 0", "image 1", "image 2"]
    assert set(frame.certificate) == {"pixel", "topk_overlap"}
    pixel = certified[1]["pixel"]
    row = frame[(frame.id == "image 1") & (frame.certificate == "pixel") & (frame.level == 0)].iloc[0]
    assert row.one_share == float(pixel.one_share()[0])
    assert certified[1].to_frame().id.unique().tolist() == ["image 1"]


def test_figures(certified):
    panel = certified[0].plot()
    assert "image 0: " in words_of(panel)
    assert "nothing" not in words_of(panel)
    assert "Certified important" in words_of(certified.plot())


def test_a_figure_that_would_show_nothing_says_so(empty):
    assert "no pixel is certified important at any K: the noisy maps differ too much; try" in words_of(empty.plot())
    assert "topk_overlap: nothing is certified: " in words_of(empty.plot())
    assert "Certified overlap" not in words_of(empty.plot())  # no empty axes
    assert "nothing is certified: the noisy maps differ too much" in words_of(empty["topk_overlap"].plot())
    assert "no pixel is certified important" in words_of(empty["pixel"].plot())
    assert "topk_overlap: nothing is certified: " in repr(empty)
    assert "nothing is certified: " in empty._repr_html_()
    certificates = [PixelCertificate([0.5]), CosineCertificate()]
    flat = certify(NET, IMAGES[0], attribution=constant, certificates=certificates, num_samples=200, progress=False)
    assert "nothing is certified: all noisy maps are constant; use another attribution method" in repr(flat["pixel"])
    assert "nothing is certified: " in words_of(flat["cosine"].plot())


def test_a_mistyped_certificate_is_named_with_the_one_that_is_meant(certified):
    with pytest.raises(KeyError, match="there is no certificate 'pixle'; did you mean pixel"):
        certified[0]["pixle"]
    assert certified[0].get("pixle") is None
    assert "pixle" not in certified[0]


def test_statements_of_all_certificates(certified):
    said = certified[0].statement()
    assert said.count("no perturbation") + said.count("every perturbation") >= 2
    assert certified[0]["pixel"].statement(0.1) in certified[0].statement(0.1)
