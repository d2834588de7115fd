"""The layers of the published pixel experiment: any method on any network in any setting, through the real command."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from lit_certattr.certificates import load_results
from lit_certattr.cli.certify import main

CONFIGS = Path(__file__).parents[2] / "configs"
GUIDE = (CONFIGS.parent / "docs/experiments.md").read_text()
METHODS = {
    name: options.replace("configs/", f"{CONFIGS}/").split()
    for name, options in re.findall(
        r"^(\w+) +(--.*)$", GUIDE.split("<<'METHODS'\n")[1].split("\nMETHODS\n")[0], re.MULTILINE
    )
}
"""What the guide says of each published method: its name, and the options that make it."""
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


def parsed(capsys, *names: str, options: Sequence[str] = ()) -> dict:
    """What the command makes of the base, these layers, and options."""
    with pytest.raises(SystemExit) as stop:
        main(["run", *layers("experiment/pixel", *names), *options, "--print_config"])
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


@pytest.mark.parametrize(("method", "network"), list(zip(METHODS, itertools.cycle(NETWORKS), strict=False)))
def test_every_method_and_every_network(method, network, capsys):
    found = parsed(capsys, "network/" + network, options=METHODS[method])
    for layer in ("experiment/pixel", f"network/{network}"):
        assert contains(found, own(layer)), layer
    made = found["certifier"]["attribution"]
    wanted = dict(
        option.removeprefix("--certifier.attribution").split("=") for option in METHODS[method] if "=" in option
    )
    if (name := wanted.pop("", None)) is not None:
        assert made["class_path"] == f"lit_certattr.attribution.{name}"
        assert {key: str(made["init_args"][key.removeprefix(".")]) for key in wanted} == wanted
    else:
        assert contains(found, own(f"method/{method}"))


def test_the_guide_names_every_configuration_of_a_method():
    files = {path.stem for path in (CONFIGS / "method").glob("*.yaml")}
    assert files == {name for name, options in METHODS.items() if options[0] == "--config"}
    assert len(METHODS) == 24


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_changes_what_it_names_and_nothing_else(layer, capsys):
    found = parsed(capsys, "network/resnet18", f"experiment/{layer}", options=METHODS["gradcam"])
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
    stack = layers("experiment/pixel", "network/resnet18", "experiment/pixel_sigma_025")
    main(["run", *stack, *METHODS["gradcam"], f"--config={tmp_path / 'tiny.yaml'}", f"--output={tmp_path / 'run'}"])
    (file,) = (tmp_path / "run/maps").glob("*.safetensors")
    result = load_results(file)["pixel"]
    assert (result.sigma, result.tau, result.num_samples, result.top_k) == (0.25, 0.75, 100, (0.5, 0.3, 0.1))
    assert result.sampling["attribution"].startswith("GradCAM(")
