"""A gate that no epoch passes says so, also when the training was resumed in between."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from lit_certattr.callbacks import MetricGate
from lit_certattr.errors import InputError


class Module:
    def __init__(self) -> None:
        self.logged: list[float] = []

    def log(self, name, value, **_) -> None:
        self.logged.append(float(value))


def validate(gate: MetricGate, module: Module, epoch: int, accuracy: float, share: float = 0.5) -> None:
    metrics = {"val/accuracy": torch.tensor(accuracy), "share": torch.tensor(share)}
    gate.on_validation_epoch_end(
        SimpleNamespace(sanity_checking=False, callback_metrics=metrics, current_epoch=epoch), module
    )


def test_warns_if_no_epoch_has_passed():
    gate, module = MetricGate("share", at_least=0.9), Module()
    for epoch, accuracy in enumerate([0.3, float("nan"), 0.7, 0.6]):
        validate(gate, module, epoch, accuracy)
    assert module.logged == [0.0] * 4
    with pytest.warns(UserWarning, match=r"val/accuracy >= 0\.9: the largest was 0\.7, in epoch 2\..*last\.ckpt"):
        gate.on_train_end(None, None)


def test_a_gate_may_ask_for_a_small_value():
    gate, module = MetricGate("share", at_most=0.7), Module()
    for epoch, overlap in enumerate([0.9, float("nan"), 0.7, 0.6, 0.8]):
        validate(gate, module, epoch, overlap)
    assert module.logged == [0.0, 0.0, 0.5, 0.5, 0.0]
    shut = MetricGate("share", at_most=0.5)
    for epoch, overlap in enumerate([0.9, 0.6, float("nan"), 0.8]):
        validate(shut, module, epoch, overlap)
    with pytest.warns(UserWarning, match=r"val/accuracy <= 0\.5: the smallest was 0\.6, in epoch 1\..*larger at_most"):
        shut.on_train_end(None, None)


@pytest.mark.parametrize("bounds", [{}, {"at_least": 0.1, "at_most": 0.9}])
def test_one_bound_is_asked_for(bounds):
    with pytest.raises(InputError, match="at_least or at_most"):
        MetricGate("share", **bounds)


def test_says_nothing_if_one_has_passed_or_none_was_validated():
    passed, unused, module = MetricGate("share", at_least=0.9), MetricGate("share", at_least=0.9), Module()
    validate(passed, module, 0, 0.95)
    validate(passed, module, 1, 0.1)
    assert module.logged == [0.5, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        passed.on_train_end(None, None)
        unused.on_train_end(None, None)


def test_a_resumed_run_knows_that_an_earlier_epoch_has_passed():
    before, after = MetricGate("share", at_least=0.9), MetricGate("share", at_least=0.9)
    validate(before, Module(), 0, 0.95)
    after.load_state_dict(before.state_dict())
    validate(after, Module(), 1, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after.on_train_end(None, None)
