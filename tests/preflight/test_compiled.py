"""A compiled network must be the network that was compiled, and its map that of the method."""

import pytest
import torch
from quick_compiler import QuickCompiler
from torch import nn

from lit_certattr.attribution import Attribution, Gradient, frozen, input_gradient
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, SmallCNN, compiled_network
from lit_certattr.models.compiled_network import compile_network
from lit_certattr.preflight import check_compiled, check_not_compiled

IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(compiled_network, "compiled", QuickCompiler())
    return SmallCNN(image_size=8, width=8).eval()


class Shifted(Attribution):
    """Changes what a layer returns, and does not say so."""

    def __call__(self, model, images, targets, create_graph=False):
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        hook = layers[-1].register_forward_hook(lambda layer, inputs, result: result - 1)
        try:
            return input_gradient(model, images, targets)[1].sum(1)
        finally:
            hook.remove()


def check(network, method, before=None):
    compiled = compile_network(network, "default", 4, torch.channels_last)
    with frozen(network), torch.no_grad():
        if before is not None:
            before(compiled, IMAGE, torch.tensor([3]))
        check_compiled(compiled, method, IMAGE, 3, "image a")


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: Denoised(nn.AvgPool2d(3, 1, 1), net)])
def test_the_compiled_network_is_accepted(net, wrap):
    check(wrap(net).eval(), Gradient())


def test_a_method_that_changes_layers_is_refused(net):
    with frozen(net), torch.no_grad():
        plain, changed = (method(net, IMAGE, torch.tensor([3])) for method in (Gradient("sum"), Shifted()))
    assert float((plain - changed).norm() / plain.norm()) > 0.2
    with pytest.raises(InputError, match=r"^Shifted explains image a otherwise if SmallCNN is compiled .* leave"):
        check(net, Shifted(), before=Gradient())  # a hook that comes after the compiler is ignored


def test_a_fault_of_the_compiler_is_seen(net, monkeypatch):
    class Other(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network(images) + 0.1 * images.mean((1, 2, 3))[:, None].square() * torch.arange(10)

    quick = QuickCompiler()
    monkeypatch.setattr(compiled_network, "compiled", lambda network, mode: quick(Other(network), mode))
    with pytest.raises(InputError, match=r"^the compiled SmallCNN gives other logits for image a .*leave compile_mode"):
        check(net, Gradient())


def test_what_is_compiled_already_is_refused(net):
    check_not_compiled(net)
    for network in (torch.compile(net, backend="eager"), Denoised(nn.Identity(), torch.compile(net, backend="eager"))):
        with pytest.raises(InputError, match="compiled already: give the one from before, or leave compile_mode away"):
            check_not_compiled(network)
