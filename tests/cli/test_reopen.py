"""What is built from an untrusted configuration is what the command line builds from it."""

from pathlib import Path

import pytest
import yaml

import lit_certattr.cli.certify  # noqa: F401  (makes short class names legal)
from lit_certattr.certification import Certifier
from lit_certattr.cli.building import as_text, build_parts
from lit_certattr.cli.certify_run import add_run_arguments
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.jobs import TrainerOptions
from lit_certattr.jobs.trust import build, call

CONFIGS = Path(__file__).parents[2] / "configs"
NO_IMAGES = ("folder", "lesion", "torchvision")  # templates for images of the user
RUNS = [path for path in sorted((CONFIGS / "certify").glob("*.yaml")) if path.stem not in NO_IMAGES]
METHODS = sorted((CONFIGS / "method").glob("*.yaml"))


@pytest.mark.parametrize("path", [*RUNS, *METHODS], ids=lambda path: path.stem)
def test_both_ways_of_building_agree(path):
    parser = OneLineParser()
    add_run_arguments(parser)
    below = [f"--config={CONFIGS}/certify/photographs.yaml"] if path in METHODS else []
    config = parser.parse_args([*below, f"--config={path}"])
    plain, parts = yaml.safe_load(as_text(config)), build_parts(parser, config)
    certifier = call(Certifier, build(plain["certifier"], "certifier"), "certifier")
    assert certifier.settings() == parts.certifier.settings()
    for name, certificate in parts.certifier.certificates.items():
        assert certifier.certificates[name].settings() == certificate.settings()
    assert type(build(plain["data"], "data")) is type(parts.data)
    assert call(TrainerOptions, plain["trainer"], "trainer") == parts.trainer
