"""The weights of a file are found whatever they are wrapped in; two sets of them are never taken for one."""

import argparse

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import (
    Normalize,
    SmallCNN,
    TorchvisionClassifier,
    load_network,
    load_state_dict,
    load_weights,
    network_hash,
)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    return nn.Sequential(*layers)


STATE, OTHER = net(1).state_dict(), net(2).state_dict()


def under(prefix: str, state: dict = STATE) -> dict:
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture
def load(tmp_path):
    """Saves content and loads it into a new network, which it returns."""

    def save_and_load(content, network=None, **options):
        torch.save(content, tmp_path / "weights.pth")
        network = network or net()
        load_weights(network, tmp_path / "weights.pth", **options)
        return network

    return save_and_load


def assert_holds(network: nn.Module, state: dict = STATE) -> None:
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


KEYS = ["state_dict", "model_state_dict", "model", "net", "weights", "params", "ema", "any name"]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_may_hold_the_state_dict(load, key):
    assert_holds(load({key: STATE, "epoch": 3, "loss": torch.tensor(0.1)}))


PREFIXES = ["", "module.", "1.module.", "backbone.", "network.", "_orig_mod.", "model._orig_mod.module.", "a.b.c."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_may_stand_before_the_names(load, prefix):
    assert_holds(load({"checkpoint": {"model": {"state_dict": under(prefix)}}}))


def test_wrappers_of_a_part_do_not_count(load):
    parts = nn.ModuleDict({"features": net(1), "head": nn.Linear(5, 2)})
    state = {name.replace("features.", "features.module."): value for name, value in parts.state_dict().items()}
    loaded = load(state, nn.ModuleDict({"features": net(), "head": nn.Linear(5, 2)}))
    assert network_hash(loaded) == network_hash(parts)


def test_a_wrapped_network_takes_plain_weights_and_keeps_its_normalisation(load):
    wrapped = nn.Sequential(Normalize([0.25] * 3, [0.5] * 3), net())
    loaded = load(STATE, wrapped)
    assert_holds(loaded[1])
    assert loaded[0].mean.flatten().tolist() == [0.25] * 3


def test_the_normalisation_of_the_file_is_loaded_into_a_network_that_has_one(load):
    saved = nn.Sequential(Normalize([0.1, 0.2, 0.3], [0.5] * 3), net(1))
    loaded = load(saved.state_dict(), nn.Sequential(Normalize([0.25] * 3, [1.0] * 3), net()))
    assert network_hash(loaded) == network_hash(saved)


@pytest.mark.parametrize("names", [("0.mean", "0.std"), ("0.means", "0.sds")])
def test_a_normalisation_that_the_network_lacks_is_named(load, names):
    beside = dict.fromkeys(names, torch.ones(3))
    with pytest.warns(UserWarning, match="left out 0.mean"):
        assert_holds(load({"state_dict": {**beside, **under("1.module.")}}))


def test_numpy_objects_and_arguments_beside_the_weights_are_passed_over(load):
    beside = {
        "best": np.float64(0.9),
        "step": np.int64(3),
        "done": np.bool_(True),
        "history": np.arange(3.0),
        "objects": np.array([None, "x"], dtype=object),
        "args": argparse.Namespace(lr=0.1),
    }
    assert_holds(load({"state_dict": STATE, **beside}))


def test_weights_that_are_numpy_arrays_are_refused_with_the_remedy(load):
    with pytest.raises(InputError, match=r"NumPy arrays are not read.*torch\.from_numpy"):
        load({name: value.numpy() for name, value in STATE.items()})


TWO = {
    "an average": ({"state_dict": STATE, "state_dict_ema": OTHER}, "state_dict", "state_dict_ema"),
    "two prefixes": ({"state_dict": under("net.") | under("model.", OTHER)}, "net.", "model"),
    "plain and prefixed": (STATE | under("ema.", OTHER), "", "ema."),
    "plain and wrapped": (STATE | under("module.", OTHER), ".", "module"),
    "encoders": (
        under("module.encoder_q.") | under("module.encoder_k.", OTHER) | {"module.queue": torch.ones(2)},
        "encoder_q",
        "module.encoder_k",
    ),
    "teacher": ({"student": under("module.backbone."), "teacher": under("backbone.", OTHER)}, "student", "teacher"),
    "in a callback": ({"state_dict": STATE, "callbacks": {"EMA": {"ema": OTHER}}}, "state_dict", "callbacks.EMA"),
    "average with its count": (
        {"model": STATE, "swa": {"n_averaged": torch.tensor(2), **under("module.", OTHER)}},
        "model",
        "swa",
    ),
}


@pytest.mark.filterwarnings("ignore:.*left out n_averaged")
@pytest.mark.parametrize("case", TWO)
def test_one_of_two_sets_is_never_taken_in_silence(load, case):
    content, first, second = TWO[case]
    with pytest.raises(InputError, match=r"holds 2 sets of weights for Sequential: .* with weights_key"):
        load(content)
    assert_holds(load(content, weights_key=first))
    assert_holds(load(content, weights_key=second), OTHER)


def test_a_second_set_counts_even_if_a_tensor_is_missing(load):
    with pytest.raises(InputError, match="2 sets of weights"):
        load({"model": {name: value for name, value in STATE.items() if name != "5.bias"}, "ema": OTHER})


def test_the_same_weights_twice_are_one_set(load):
    assert_holds(load({"model": STATE, "copy": {name: value.clone() for name, value in STATE.items()}}))


def test_a_key_that_is_not_there(load):
    with pytest.raises(InputError, match=r"under 'ema'; it holds state_dict\.0\.weight"):
        load({"state_dict": STATE}, weights_key="ema")


def test_names_of_the_file_are_listed_if_none_fits(load):
    with pytest.raises(
        InputError, match=r"it holds model\.conv\.kernel \(2, 2\), .* and 2 more; the network has 0\.weight"
    ):
        load({"model": {f"conv.kernel{end}": torch.ones(2, 2) for end in ("", "_1", "_2", "_3", "_4")}})


def test_old_files_lack_counters_and_keep_auxiliary_heads(load, tmp_path):
    assert_holds(load({name: value for name, value in STATE.items() if "num_batches" not in name} | COUNTER))
    old = torchvision.models.resnet18(num_classes=3).state_dict()
    torch.save({name: value for name, value in old.items() if "num_batches" not in name}, tmp_path / "old.pth")
    network = TorchvisionClassifier("resnet18", weights=str(tmp_path / "old.pth"), num_classes=3)
    assert torch.equal(network.network.fc.weight, old["fc.weight"])
    for name in ("aux1.fc.weight", "AuxLogits.conv.weight", "auxiliary_head.0.bias"):
        with pytest.warns(UserWarning, match=f"left out {name}"):
            assert_holds(load(STATE | {name: torch.ones(2)}))


COUNTER = {"1.num_batches_tracked": STATE["1.num_batches_tracked"]}


def test_other_surplus_and_missing_tensors_are_refused(load):
    with pytest.raises(InputError, match=r"unexpected fc\.weight"):
        load(STATE | {"fc.weight": torch.ones(2)})
    with pytest.raises(InputError, match=r"lacks 5\.bias"):
        load({"backbone." + name: value for name, value in STATE.items() if name != "5.bias"})


BAD = {
    "not finite": torch.tensor([float("nan")] * 5),
    "infinity": torch.full((5,), 1e300, dtype=torch.float64),
    "complex": torch.ones(5, dtype=torch.complex64),
    "sparse": torch.ones(5).to_sparse(),
    "meta device": torch.ones(5, device="meta"),
    "of int64": torch.ones(5, dtype=torch.int64),
}


@pytest.mark.parametrize("case", BAD)
def test_values_that_are_no_weights(load, case):
    network = net()
    before = network_hash(network)
    with pytest.raises(InputError, match=rf"5\.bias is .*{case}") as caught:
        load(STATE | {"5.bias": BAD[case]}, network)
    assert "\n" not in str(caught.value)
    assert network_hash(network) == before


def test_a_view_that_unfolds_to_terabytes_is_compared_by_shape_alone(load):
    with pytest.raises(InputError, match=r"another shape for 5\.weight"):
        load(STATE | {"5.weight": torch.zeros(1).expand(10**6, 10**6)})


def test_lazy_layers_are_named(load):
    with pytest.raises(InputError, match="lazy layers"):
        load(STATE, nn.Sequential(nn.LazyConv2d(4, 3)))


def test_nested_mappings_without_end_take_no_time(load):
    loop = {}
    for _ in range(60):
        loop = {"a": loop, "b": loop}
    assert_holds(load({"x": loop, "state_dict": STATE}))


def test_state_dict_without_a_network(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model_state_dict": STATE, "optimizer_state_dict": {"state": {}}}, path)
    assert load_state_dict(path).keys() == STATE.keys()
    torch.save({"model": STATE, "ema": OTHER}, path)
    with pytest.raises(InputError, match="several state dicts: 'model', 'ema'"):
        load_state_dict(path)
    assert torch.equal(load_state_dict(path, "ema")["5.bias"], OTHER["5.bias"])
    with pytest.raises(InputError, match="no state dict 'teacher'; there are: 'model', 'ema'"):
        load_state_dict(path, "teacher")


def test_load_network_asks_which_average_is_meant(tmp_path):
    raw, average = SmallCNN(width=2), SmallCNN(width=2)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"width": 2}}
    content = {
        "hyper_parameters": {"net": spec},
        "state_dict": under("net.", average.state_dict()),
        "current_model_state": under("net.", raw.state_dict()),
    }
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="2 sets of weights"):
        load_network(tmp_path / "last.ckpt")
    rebuilt = load_network(tmp_path / "last.ckpt", weights_key="current_model_state")
    assert network_hash(rebuilt) == network_hash(raw)


def test_moments_of_an_optimizer_are_no_weights(tmp_path):
    moments = {"optimizer": {"exp_avg": OTHER}}
    torch.save({"model": STATE, **moments}, tmp_path / "both.pth")
    found = net()
    load_weights(found, tmp_path / "both.pth")
    assert torch.equal(found.state_dict()["5.weight"], STATE["5.weight"])
    torch.save(moments, tmp_path / "alone.pth")
    with pytest.raises(InputError, match="does not fit"):
        load_weights(net(), tmp_path / "alone.pth")
