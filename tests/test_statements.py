"""What a certificate says stands wherever a reader may look: docstring, result, report and documentation."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from lit_certattr import certificates
from lit_certattr.certificates import Certificate
from lit_certattr.reports.html import _general
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock, uniform_levels

ROOT = Path(__file__).parents[1]
KINDS = [
    kind
    for kind in vars(certificates).values()
    if inspect.isclass(kind) and issubclass(kind, Certificate) and not inspect.isabstract(kind)
]


def result(kind):
    certificate = kind()
    certificate.bind(GaussianNoise(0.25), (8, 8), 64)
    images = torch.linspace(-1, 1, 64).view(1, 8, 8) + torch.zeros(2000, 1, 1, 1)
    probability = torch.full((2000,), 0.5)
    draw = Draw(
        torch.nn.Flatten(), images, 0, images[0], 0.25, lambda _, images, __: images[:, 0], lambda *_: probability
    )
    certificate.update(MapBlock(draw, 0, uniform_levels(0, "image", 0, 2000)))
    return certificate.compute()


def check(text):
    """At which confidence, for which budget, over which set."""
    words = " ".join(re.sub(r":math:|`", "", text).split()).lower()
    assert re.search(r"with probability at least (1 - \\alpha|\$1-\\alpha\$|0\.999)", words)
    assert re.search(r"(no|every) perturbation( of the image)? with (an? )?(\S+ )?norm", words)
    assert re.search(r"at once|for all radii", words)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_statement_is_in_all_four_places(kind):
    documented = re.search(
        rf"^## [^\n]*`{kind.__name__}`\n(.*?)(?=^## )", (ROOT / "docs/certificates.md").read_text(), re.M | re.S
    )
    in_words = documented[1].split("**In plain words.**")[1].split("\n\n")[0]
    in_docstring = inspect.getdoc(kind).split("What it says:")[1].split("\n\n")[0]
    found = result(kind)
    for text in (in_words, in_docstring, found.statement(0.1), _general(found)):
        check(text)
    assert "not covered" in found.statement(0.1) or "Nothing is claimed about" in found.statement(0.1)


def test_all_kinds_are_checked():
    assert {kind.__name__ for kind in KINDS} >= {
        "PixelCertificate",
        "TopKOverlapCertificate",
        "CosineCertificate",
        "RenyiCertificate",
        "SmoothGradCertificate",
    }
