"""Frozen layers stay as they were to the last bit, and the others learn."""

import pytest
import torch
from lightning import Trainer
from torch import nn

from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import FrozenLayers, LastCheckpoint
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy, NoiseConsistency, Stability
from lit_certattr.smoothing import GaussianNoise

NOISE = GaussianNoise(sigma=0.25)


def network() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(first, second, nn.Flatten(), nn.Linear(64, 10))


def train(net: nn.Module, *layers: str, objective=None, callback=None) -> None:
    quiet = dict.fromkeys(("logger", "enable_model_summary", "enable_progress_bar", "enable_checkpointing"), False)
    callbacks = [callback or FrozenLayers(layers)] if layers or callback else []
    # AdamW: weight decay must not move a frozen weight, either
    module = RobustClassifier(
        net, objective or CrossEntropy(), lambda parameters: torch.optim.AdamW(parameters, lr=0.01)
    )
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu"}
    Trainer(max_epochs=2, callbacks=callbacks, **quiet, **limits).fit(module, datamodule=Digits())


def changed(net: nn.Module) -> set[str]:
    before = network().state_dict()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    "objective",
    [CrossEntropy(), Stability(NOISE), NoiseConsistency(NOISE, Gradient())],
    ids=lambda one: type(one).__name__,
)
def test_only_the_other_layers_change(objective):
    net = network()
    train(net, "0", "3", objective=objective)
    learnt = {"1.0.weight", "1.1.weight", "1.1.bias", "1.1.running_mean", "1.1.running_var", "1.1.num_batches_tracked"}
    assert learnt <= changed(net) <= learnt | {"1.0.bias"}  # a bias before batch normalisation has no gradient


def test_statistics_of_all_layers_may_be_kept_while_scale_and_shift_are_trained():
    net = network()
    train(net, callback=FrozenLayers(["0"], keep_statistics=True))
    assert {"1.1.weight", "1.1.bias", "3.weight"} <= changed(net)
    assert not {name for name in changed(net) if "running" in name or "tracked" in name}


def test_without_it_all_layers_change():
    net = network()
    train(net)
    assert {"0.0.weight", "0.1.weight", "0.1.running_mean", "3.weight"} <= changed(net)


def test_frozen_layers_are_in_evaluation_mode_while_the_others_train():
    net, modes = network(), []
    net[0].register_forward_hook(lambda module, *_: modes.append((net[1].training, [one.training for one in module])))
    train(net, "0")
    assert any(rest for rest, _ in modes)
    assert not any(frozen for rest, layers in modes if rest for frozen in layers)


def test_a_layer_inside_another_is_frozen_alone():
    net = network()
    train(net, "0.1")
    assert "0.0.weight" in changed(net)
    assert not any(name.startswith("0.1.") for name in changed(net))


@pytest.mark.parametrize("layer", ["4", "network.0", "", "0.weight"])
def test_an_unknown_layer_is_named_with_those_that_exist(layer):
    with pytest.raises(InputError, match=r"Sequential has no layer .* to freeze; its layers are 0, 0\.0, 0\.1,"):
        train(network(), layer)


def test_something_must_remain():
    with pytest.raises(InputError, match="leaves nothing to train in Sequential: name fewer layers"):
        train(network(), "0", "1", "3")


@pytest.mark.parametrize("layers", [[], "network.conv_stem"])
def test_a_list_of_names_is_asked_for(layers):
    with pytest.raises(InputError, match="layers must be a list"):
        FrozenLayers(layers)


def test_a_resumed_run_repeats_an_uninterrupted_one(tmp_path):
    quiet = dict.fromkeys(("logger", "enable_model_summary", "enable_progress_bar"), False)
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu", "default_root_dir": tmp_path}

    def fit(epochs: int, resume: str | None = None) -> tuple[nn.Module, str]:
        net, last = network(), LastCheckpoint(tmp_path / str(epochs))
        torch.manual_seed(1)
        trainer = Trainer(max_epochs=epochs, callbacks=[FrozenLayers(["0"]), last], **quiet, **limits)
        trainer.fit(RobustClassifier(net, CrossEntropy()), datamodule=Digits(), ckpt_path=resume)
        return net, str(last.saved)

    whole, _ = fit(2)
    _, saved = fit(1)
    resumed, _ = fit(2, saved)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
