"""Classes that a configuration names, and what they say if they cannot be built."""

import sys

import pytest

from lit_certattr.cli.building import build_parts
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError

PARTS = [
    "--data=lit_certattr.data.Digits",
    "--certifier.attribution=Gradient",
    "--certifier.noise=GaussianNoise",
    "--certifier.noise.sigma=0.25",
    "--certifier.certificates=[{class_path: lit_certattr.certificates.PixelCertificate}]",
]


def refused(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["certify.py", "run", *PARTS, *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line.strip()


def test_a_class_that_fails_is_named(capsys, monkeypatch):
    options = [f"--network.{name}=1" for name in ("in_channels", "out_channels", "kernel_size")]
    line = refused(capsys, monkeypatch, "--network=torch.nn.Conv2d", *options, "--network.groups=0")
    assert line == "certify.py: error: torch.nn.Conv2d: ValueError: groups must be a positive integer"


def test_a_refusal_of_this_package_stands_alone(capsys, monkeypatch):
    line = refused(capsys, monkeypatch, "--network=lit_certattr.models.SmallCNN", "--network.num_classes=0")
    assert line.startswith("certify.py: error: SmallCNN needs in_channels")


class Refuses:
    def instantiate(self, config):
        raise ValueError(
            "Does not validate against any of the Union subtypes\n"
            "  - Expected a Sequence\n"
            "  - Does not validate against any of the Union subtypes\n"
            "    - Import path lit_certattr.numbers.Cell does not correspond to a subclass of Box\n"
            "    - cells must be at least 2, got 1"
        )


def test_the_reason_alone_is_said():
    with pytest.raises(InputError, match=r"^cells must be at least 2, got 1$"):
        build_parts(Refuses(), None)
