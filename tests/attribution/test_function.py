"""A plain function as a method: under a name, and told apart from others of that name."""

import functools
import pickle

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Attribution, FunctionAttribution, Gradient, SmoothGrad, as_method
from lit_certattr.certificates import PixelCertificate, SmoothGradCertificate
from lit_certattr.errors import InputError
from lit_certattr.robustness import RobustnessProtocol
from lit_certattr.smoothing import GaussianNoise

NET = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
IMAGES = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2])


def brightness(model, images, targets):
    return images.sum(1)


def weighted(model, images, targets, factor):
    return factor * images.sum(1)


def gradient(model, images, targets, create_graph=False):
    return Gradient("sum")(model, images, targets, create_graph)


class Scorer:
    """An object that can be called, with what a method may offer."""

    class_rule = "the brightest"

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, model, images, targets):
        return self.factor * images.sum(1)

    def score(self, model, images, targets):
        return torch.zeros(len(images))


def certifier(attribution):
    return Certifier(attribution, GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=60)


def test_maps_are_those_of_the_function():
    method = FunctionAttribution(brightness)
    assert torch.equal(method(NET, IMAGES, TARGETS), IMAGES.sum(1))
    with pytest.raises(InputError, match=r"brightness gives maps without a graph, .* a parameter create_graph"):
        method(NET, IMAGES, TARGETS, create_graph=True)
    images = IMAGES.clone().requires_grad_(True)
    assert not FunctionAttribution(gradient)(NET, images, TARGETS).requires_grad
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Softplus(), nn.Linear(4, 3))
    assert FunctionAttribution(gradient)(smooth, images, TARGETS, create_graph=True).requires_grad


def test_a_function_is_certified_under_its_name():
    by_function, by_method = certifier(brightness), certifier(FunctionAttribution(brightness, name="brightness"))
    assert isinstance(by_function.attribution, Attribution)
    assert by_function.settings() == by_method.settings()
    assert by_function.settings()["attribution"] == "FunctionAttribution(name='brightness')"
    (first,), (second,) = (one(NET, IMAGES[:1], ids=["a"]) for one in (by_function, by_method))
    assert torch.equal(first["pixel"].votes, second["pixel"].votes)
    assert first["pixel"].sampling["attribution"] == "FunctionAttribution(name='brightness')"


@pytest.mark.parametrize("nameless", [lambda model, images, targets: images.sum(1), functools.partial(brightness)])
def test_what_has_no_name_needs_one(nameless):
    for make in (certifier, as_method, FunctionAttribution):
        with pytest.raises(InputError, match=r"has no name .* FunctionAttribution\(function, name='...'\)") as caught:
            make(nameless)
        assert "\n" not in str(caught.value)
    assert "0x" not in str(certifier(FunctionAttribution(nameless, name="mine")).settings())
    with pytest.raises(InputError, match="name must be a text"):
        FunctionAttribution(nameless, name="")


@pytest.mark.parametrize("wrong", [dict, 3, None])
def test_what_is_no_method_is_refused(wrong):
    with pytest.raises(InputError, match="attribution must be an Attribution"):
        certifier(wrong)
    with pytest.raises(InputError, match="function must be a function"):
        FunctionAttribution(wrong)


def test_functions_of_one_name_are_told_apart():
    def made(factor):
        def explain(model, images, targets):
            return factor * images.sum(1)

        return explain

    one, same, other = (FunctionAttribution(made(factor)) for factor in (1.0, 1.0, 2.0))
    assert repr(one) == repr(other) == "FunctionAttribution(name='explain')"
    assert one == same
    assert one != other
    assert certifier(one).settings() == certifier(same).settings()
    assert certifier(one).settings() != certifier(other).settings()
    lambdas = [
        FunctionAttribution(lambda m, x, t: x.sum(1), name="f"),
        FunctionAttribution(lambda m, x, t: -x, name="f"),
    ]
    assert lambdas[0] != lambdas[1]
    assert certifier(lambdas[0]).settings()["states"] != certifier(lambdas[1]).settings()["states"]


@pytest.mark.parametrize(
    "make",
    [
        lambda factor: functools.partial(weighted, factor=factor),
        lambda factor: Scorer(factor).__call__,
        lambda factor: functools.partial(Scorer(factor)),
        lambda factor: nn.Threshold(factor, 0.0).forward,
        lambda factor: nn.Threshold(factor, 0.0),
    ],
)
def test_callables_of_one_name_are_told_apart(make):
    """Those of installed packages too, and those that Python itself wraps."""
    one, same, other = (certifier(FunctionAttribution(make(factor), name="mine")) for factor in (1.0, 1.0, 2.0))
    assert one.settings() == same.settings()
    assert one.settings() != other.settings()
    assert one.attribution == same.attribution
    assert one.attribution != other.attribution


def test_an_object_that_can_be_called_keeps_what_it_offers():
    method = certifier(Scorer(2.0)).attribution
    assert method.name == "Scorer"
    assert method.class_rule == "the brightest"
    assert torch.equal(method.score(NET, IMAGES, TARGETS), torch.zeros(2))
    assert certifier(Scorer(2.0)).settings() == certifier(Scorer(2.0)).settings()
    assert certifier(Scorer(2.0)).settings() != certifier(Scorer(2.5)).settings()
    Certifier(Scorer(1.0), GaussianNoise(0.25), [SmoothGradCertificate(num_selection=10)], num_samples=50)
    with pytest.raises(InputError, match="is about the gradient of a probability"):
        Certifier(brightness, GaussianNoise(0.25), [SmoothGradCertificate(num_selection=10)], num_samples=50)


def test_functions_within_other_methods_are_told_apart():
    smooth = SmoothGrad(brightness, GaussianNoise(0.1), draws=2)
    assert "base=FunctionAttribution(name='brightness')" in repr(smooth)
    assert certifier(smooth).settings()["sources"].keys() == {f"{__name__}.brightness"}
    protocol = RobustnessProtocol(gradient, AttackConfig(eps=0.1))
    assert protocol.settings()["attribution"] == "FunctionAttribution(name='gradient')"
    assert protocol.settings()["sources"].keys() == {f"{__name__}.gradient"}


def test_it_can_be_pickled():
    method = FunctionAttribution(brightness, name="mine")
    assert pickle.loads(pickle.dumps(method)) == method
