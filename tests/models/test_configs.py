"""Every model config on its own."""

from pathlib import Path

import jsonargparse
import pytest
import torch
import yaml
from torch import nn

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_model_config_builds_its_network(path, monkeypatch):
    # Lightning too still says instantiate_classes; the new name is younger than our lower bound.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    net = yaml.safe_load(path.read_text())["model"]["net"]
    arguments = net["init_args"]
    # Nothing is downloaded here: the same network, with random weights.
    arguments |= {key: value for key, value in {"weights": None, "pretrained": False}.items() if key in arguments}
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(nn.Module, "net")
    network = parser.instantiate_classes(parser.parse_object({"net": net})).net.eval()
    shape = network.input_size or (3, 64, 64)
    with torch.no_grad():
        assert network(torch.rand(1, *shape)).shape == (1, network.num_classes)
