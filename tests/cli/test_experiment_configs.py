"""The layers of the published pixel experiment: any method on any network in any setting, through the real command."""

from pathlib import Path

import pytest
import yaml

from lit_certattr.certificates import load_results
from lit_certattr.cli.certify import main

CONFIGS = Path(__file__).parents[2] / "configs"
METHODS = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
NETWORKS = sorted(path.stem for path in (CONFIGS / "network").glob("*.yaml"))
LAYERS = sorted(path.stem for path in (CONFIGS / "experiment").glob("pixel_*.yaml"))

TINY = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 1
network:
  class_path: lit_certattr.models.SmallCNN
  init_args:
    image_size: 8
targets: predicted
max_panels: 0
trainer:
  accelerator: cpu
  threads: 1
"""


def layers(*names: str) -> list[str]:
    return [f"--config={CONFIGS / name}.yaml" for name in names]


def parsed(capsys, *names: str) -> dict:
    """What the command makes of the base and these layers."""
    with pytest.raises(SystemExit) as stop:
        main(["run", *layers("experiment/pixel", *names), "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def own(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def contains(found: object, wanted: object) -> bool:
    """Whether every setting of ``wanted`` is in ``found``, which also has defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(contains, found, wanted))
    return found == wanted


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_network(method, network, capsys):
    found = parsed(capsys, f"network/{network}", f"method/{method}")
    for layer in ("experiment/pixel", f"network/{network}", f"method/{method}"):
        assert contains(found, own(layer)), layer


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_changes_what_it_names_and_nothing_else(layer, capsys):
    found = parsed(capsys, "network/resnet18", "method/gradcam", f"experiment/{layer}")
    changed = own(f"experiment/{layer}")
    assert contains(found, changed)
    assert not contains(own("experiment/pixel"), changed)
    kept = own("experiment/pixel")
    for section, values in changed.items():
        if section == "certifier":
            kept["certifier"] = {key: value for key, value in kept["certifier"].items() if key not in values}
        else:
            del kept[section]
    assert contains(found, kept)


def test_a_tiny_run_of_layers(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    stack = layers("experiment/pixel", "network/resnet18", "method/gradcam", "experiment/pixel_sigma_025")
    main(["run", *stack, f"--config={tmp_path / 'tiny.yaml'}", f"--output={tmp_path / 'run'}"])
    (file,) = (tmp_path / "run/maps").glob("*.safetensors")
    result = load_results(file)["pixel"]
    assert (result.sigma, result.tau, result.num_samples, result.top_k) == (0.25, 0.75, 100, (0.5, 0.3, 0.1))
    assert result.sampling["attribution"].startswith("GradCAM(")
