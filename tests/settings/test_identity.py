"""Objects that are known by what their constructors were given."""

import copy
import inspect
import pickle
from dataclasses import dataclass
from functools import partial

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Attribution, Gradient, SmoothGrad
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.records.job_directory import first_difference
from lit_certattr.settings import Settings
from lit_certattr.settings.plain import plain
from lit_certattr.smoothing import GaussianNoise, Noise


class Scaled(Attribution):
    """A method of a user, who keeps the setting to himself."""

    def __init__(self, factor, layer="input"):
        self._factor = factor  # super().__init__ is not called

    def __call__(self, model, images, targets, create_graph=False):
        return self._factor * images.sum(1)


class Twice(Scaled):
    """Gives its base other arguments than it was given."""

    def __init__(self, half=1.0):
        super().__init__(2 * half, layer="final")


class Listed(Settings):
    def __init__(self, values):
        self._values = tuple(values)


class Collected(Settings):
    def __init__(self, first, **options):
        self._all = first, options


class Silent(Settings):
    """Has no constructor of its own."""


@dataclass(frozen=True)
class Pair(Settings):
    left: int
    right: int = 2


@attrs.frozen
class Slotted(Settings):
    width: int
    depth: int = 1


def named_function(x):
    return x


EXAMPLES = [
    Scaled(2.0),
    Twice(3.0),
    Listed([1, 2]),
    Collected(1, second="b", third=[Scaled(1)]),
    Silent(),
    Pair(1),
    Slotted(3),
    SmoothGrad(Scaled(0.5), GaussianNoise(0.1), draws=3),
]


def test_private_settings_are_known():
    assert Scaled(2.0).settings() == {"factor": 2.0, "layer": "input"}
    assert repr(Scaled(2.0)) == "Scaled(factor=2.0, layer='input')"
    assert Scaled(2.0) == Scaled(factor=2.0, layer="input")
    assert Scaled(2.0) != Scaled(2.5)
    assert len({Scaled(2.0), Scaled(2.0), Scaled(3.0)}) == 2


def test_only_the_outermost_constructor_counts():
    assert Twice(3.0).settings() == {"half": 3.0}
    assert Twice(3.0) != Scaled(6.0, "final")


def test_settings_within_settings_are_told_apart():
    inner = {"class_path": f"{__name__}.Scaled", "init_args": {"factor": 0.5, "layer": "input"}}
    method = SmoothGrad(Scaled(0.5), GaussianNoise(0.1), draws=3)
    assert method.settings()["base"] == inner
    assert "base=Scaled(factor=0.5, layer='input')" in repr(method)
    assert method != SmoothGrad(Scaled(0.6), GaussianNoise(0.1), draws=3)


def test_more_keywords_than_the_constructor_names_are_settings_too():
    assert Collected(1, second="b").settings() == {"first": 1, "second": "b"}
    assert Collected(1, second="b") != Collected(1, second="c")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_copies_are_equal(example):
    for twin in (copy.copy(example), copy.deepcopy(example), pickle.loads(pickle.dumps(example))):
        assert twin == example
        assert twin.settings() == example.settings()
        assert repr(twin) == repr(example)
        assert hash(twin) == hash(example)


def test_a_copied_certificate_knows_its_settings():
    certificate = PixelCertificate([0.5], alpha=0.01)
    for twin in (copy.deepcopy(certificate), pickle.loads(pickle.dumps(certificate))):
        assert twin.settings() == certificate.settings() == certificate.settings() | {"top_k": [0.5], "alpha": 0.01}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "a callable that no record can name: give a function that is defined with def at the top"),
        (partial(named_function), "a callable that no record can name"),
        (torch.zeros(2, 3), r"is a tensor of shape \(2, 3\), .* give a list of numbers, or the path of a file"),
        (object(), "is an object of the class object, .* give plain values, or make object a dataclass"),
        ([1, [lambda x: x]], "no record can name"),
        ({"a": torch.ones(1)}, "is a tensor"),
        ({(1, 2): 1}, "use text or numbers as keys"),
        (b"bytes", "is an object of the class bytes"),
        (np.array([object()]), "is an object of the class ndarray"),
        (iter([1]), "is an object of the class list_iterator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_no_record_can_hold_is_refused_with_the_remedy(value, message):
    for make in (Scaled, Listed, lambda given: Collected(1, option=given)):
        with pytest.raises(InputError, match=message) as caught:
            make(value)
        assert "\n" not in str(caught.value)


def test_what_holds_itself_is_refused_in_one_line():
    ring: list = []
    ring.append(ring)
    with pytest.raises(InputError, match="Scaled: factor holds itself, or is nested too deeply: give plain values"):
        Scaled(ring)
    method = Scaled(1)
    method.twin = method
    assert repr(method)


def test_a_record_holds_no_address_and_no_order_of_a_set():
    values = [named_function, {"b": (named_function,)}, {"y", "x"}]
    name = f"{__name__}.named_function"
    for method in (Scaled(values), Listed(values)):
        assert f"[{name}, {{'b': ({name},)}}, {{'x', 'y'}}]" in repr(method)


def test_numbers_of_numpy_are_numbers():
    assert PixelCertificate(np.array([0.5, 0.25])) == PixelCertificate([0.5, 0.25])
    assert repr(Listed([np.float32(0.5), np.int64(3)])) == "Listed(values=[0.5, 3])"


def test_nan_is_the_same_setting_as_nan():
    assert Scaled(float("nan")) == Scaled(float("nan"))
    assert Scaled(float("nan")) != Scaled(1.0)
    assert first_difference({"fill": [float("nan")]}, {"fill": [float("nan")]}) is None
    assert first_difference({"fill": float("nan")}, {"fill": 1.0}) == "fill was nan, is 1.0"


def test_an_open_file_is_refused(tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text("1")
    with path.open() as file, pytest.raises(InputError, match=r"Scaled: factor is an open file, .* give its path"):
        Scaled(file)
    assert Scaled(path).settings()["factor"] == str(path)


def test_plain_forms():
    config = AttackConfig(eps=0.1)
    assert plain(config, "")["class_path"] == "lit_certattr.attacks.config.AttackConfig"
    assert plain(config, "")["init_args"]["clamp"] == [0.0, 1.0]
    assert plain(named_function, "") == f"{__name__}.named_function"
    assert plain(Scaled, "") == f"{__name__}.Scaled"
    assert plain({3, 1, 2}, "") == [1, 2, 3]
    assert plain(np.arange(2), "") == [0, 1]
    assert type(plain(np.float32(0.5), "")) is float
    assert plain(torch.float32, "") == "torch.float32"


def test_a_setting_that_is_changed_afterwards_is_known_as_it_is():
    method, before = Gradient(), Gradient()
    method.channels = "l2"
    assert method != before
    assert method == Gradient("l2")
    assert method.settings()["channels"] == "l2"
    noise = GaussianNoise(0.25)
    noise.sigma = 0.5
    assert repr(noise) == "GaussianNoise(sigma=0.5)"
    assert noise == GaussianNoise(0.5)
    assert hash(noise) == hash(GaussianNoise(0.5))


def test_a_list_that_the_user_changes_later_is_not_the_setting():
    values = [1, 2]
    kept = Listed(values)
    values.append(3)
    assert kept.settings() == {"values": [1, 2]}


def test_wrong_arguments_are_still_the_errors_of_python():
    with pytest.raises(TypeError, match="factor"):
        Scaled()
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Scaled(1, missing=2)
    with pytest.raises(TypeError, match=r"Silent\(\) takes no arguments"):
        Silent(3)


def test_the_signature_is_that_of_the_constructor():
    assert list(inspect.signature(Scaled).parameters) == ["factor", "layer"]
    assert list(inspect.signature(Pair).parameters) == ["left", "right"]
    assert next(iter(inspect.signature(Gradient()).parameters)) == "model"
    assert list(inspect.signature(Noise).parameters) == ["sigma"]


def test_objects_of_different_classes_are_never_equal():
    class Gradient(globals()["Gradient"]):  # a class of the user by the same name
        pass

    assert repr(Gradient()) == repr(globals()["Gradient"]())
    assert Gradient() != globals()["Gradient"]()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, PLAIN)
def test_equal_settings_are_equal_objects_and_no_others(first, second):
    one, two = Scaled(first), Scaled(second)
    assert (one == two) == (repr(first) == repr(second))
    assert Scaled(**one.settings()) == one
    assert pickle.loads(pickle.dumps(one)) == one
