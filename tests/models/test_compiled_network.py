"""A compiled network: the same function in at most four graphs, in memory of its own, or one line that says why not."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from quick_compiler import QuickCompiler
from torch import nn

from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, SmallCNN, compiled_network
from lit_certattr.models.compiled import is_compiled
from lit_certattr.models.compiled_network import CompiledNetwork, LastCompiled, compile_network, uncompiled

LAYOUT = torch.channels_last


@pytest.fixture
def net():
    network = SmallCNN(image_size=8, width=4).eval().requires_grad_(False)
    assert not is_compiled(network)
    return network


@torch.enable_grad()
def gradient(network, images):
    images = images.clone().requires_grad_(True)
    (found,) = torch.autograd.grad((network(images) * torch.arange(10.0)).sum(), images)
    return found


def test_any_number_of_images_passes_four_graphs(compiler, net):
    network = CompiledNetwork(net, "default", 8, LAYOUT)
    assert is_compiled(network)
    for count in (1, 3, 8, 9, 20):
        images = torch.rand(count, 1, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(network(images), net(images))
        torch.testing.assert_close(gradient(network, images), gradient(net, images))
        torch.testing.assert_close(gradient(network, images.to(memory_format=LAYOUT)), gradient(net, images))
    assert compiler.graphs == {1: 2, 8: 2}


def test_many_networks_can_be_compiled(compiler):
    images, networks = torch.rand(3, 1, 2, 2), [nn.Sequential(nn.Flatten(), nn.Linear(4, n)) for n in range(2, 14)]
    for one in networks:
        torch.testing.assert_close(CompiledNetwork(one, "default", 4, LAYOUT)(images), one(images).detach())
    assert compiler.graphs == {4: 12}, "more than one forward may have"


def test_a_graph_depends_on_the_number_of_images_alone(compiler, net):
    images = torch.rand(5, 1, 8, 8)
    first = CompiledNetwork(net, "default", 8, LAYOUT)(images)
    torch._dynamo.reset()
    network = CompiledNetwork(net, "default", 8, LAYOUT)
    for count in (2, 7, 4):
        network(torch.rand(count, 1, 8, 8))
    assert torch.equal(network(images), first)


def test_weights_are_those_of_the_network(compiler, net):
    network, images = CompiledNetwork(net, "default", 8, LAYOUT), torch.rand(4, 1, 8, 8)
    before = network(images)
    next(net.parameters()).data.mul_(2)
    assert not torch.allclose(network(images), before)
    torch.testing.assert_close(network(images), net(images))


def test_what_a_graph_overwrites_was_copied(monkeypatch, net):
    torch._dynamo.reset()
    monkeypatch.setattr(compiled_network, "compiled", QuickCompiler(replays=True))
    network = CompiledNetwork(net, "reduce-overhead", 8, LAYOUT)
    first, second = torch.rand(2, 8, 1, 8, 8)
    with torch.no_grad():
        outputs, gradients = (network(first), network(second)), (gradient(network, first), gradient(network, second))
        pieces = network(torch.cat([first, second]))
    for images, output, found in zip((first, second), outputs, gradients, strict=True):
        torch.testing.assert_close(output, net(images))
        torch.testing.assert_close(found, gradient(net, images))
    torch.testing.assert_close(pieces, torch.cat(outputs))


def test_graphs_are_told_when_their_memory_is_free(compiler, net, monkeypatch):
    steps = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    network, other = (CompiledNetwork(net, "reduce-overhead", 8, LAYOUT) for _ in range(2))
    images = torch.rand(20, 1, 8, 8, requires_grad=True)
    outputs = network(images)
    assert len(steps) == 1, "three pieces wait for their gradients"
    other(images)
    assert len(steps) == 1, "of another network, too"
    torch.autograd.grad(outputs.sum(), images)
    network(images[:8])
    assert len(steps) == 2
    with torch.no_grad():  # whoever asks for no gradient of a pass, drops it
        network(images)
    assert len(steps) == 5
    CompiledNetwork(net, "default", 8, LAYOUT)(images)
    assert len(steps) == 5


class Printing(nn.Module):
    def forward(self, images):
        if images.sum() > 0:  # depends on the values
            return images.flatten(1)
        return -images.flatten(1)


class Pair(nn.Module):
    def forward(self, images):
        return images.flatten(1), images


class Counting(nn.Module):
    """Needs a graph of its own for every call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return images.flatten(1) * self.calls


def test_what_cannot_be_compiled_is_one_line(compiler):
    images = torch.rand(3, 1, 2, 2)
    with pytest.raises(
        InputError, match=r"^Printing cannot be compiled as one graph, .*: leave certifier.compile_mode"
    ):
        CompiledNetwork(Printing(), "default", 4, LAYOUT)(images)
    with pytest.raises(InputError, match="Pair must return one tensor with a row per image to be compiled, got tuple"):
        CompiledNetwork(Pair(), "default", 4, LAYOUT)(images)
    with pytest.raises(InputError, match=r"must return one tensor with a row per image .* got \[16\] for 4 images"):
        CompiledNetwork(nn.Flatten(0), "default", 4, LAYOUT)(images)
    counting = CompiledNetwork(Counting(), "default", 4, LAYOUT)
    with pytest.raises(InputError, match=r"Counting cannot be .*, since it needs another one again and again: keep"):
        [counting(images) for _ in range(30)]


def test_a_compiler_that_is_turned_off_is_no_compiler(compiler, net):
    network = CompiledNetwork(net, "default", 4, LAYOUT)
    with torch.compiler.set_stance("force_eager"), pytest.raises(InputError, match=r"torch\.compile does nothing"):
        network(torch.rand(3, 1, 8, 8))
    network(torch.rand(3, 1, 8, 8))


def test_both_parts_of_a_denoised_network_are_compiled(compiler, net):
    whole = Denoised(nn.AvgPool2d(3, 1, 1), net, "image").eval()
    network, images = compile_network(whole, "default", 8, LAYOUT), torch.rand(5, 1, 8, 8)
    assert isinstance(network, Denoised)
    torch.testing.assert_close(network(images), whole(images))
    torch.testing.assert_close(gradient(network, images), gradient(whole, images))
    assert compiler.graphs == {8: 4}
    plain = uncompiled(network)
    assert (plain.network, plain.denoiser, plain.explain_at) == (net, whole.denoiser, "image")
    assert uncompiled(network.network) is net
    assert uncompiled(net) is net


def test_the_last_network_is_kept_and_no_other(net):
    kept = LastCompiled()
    first = kept(net, "default", 8, LAYOUT)
    assert kept(net, "default", 8, LAYOUT) is first
    assert kept(net, "default", 16, LAYOUT) is not first
    assert kept(net, "reduce-overhead", 16, LAYOUT).mode == "reduce-overhead"
    whole = Denoised(nn.Identity(), net)
    first = kept(whole, "default", 8, LAYOUT)
    assert kept(whole, "default", 8, LAYOUT) is first
    whole.network = copy.deepcopy(net)
    assert uncompiled(kept(whole, "default", 8, LAYOUT)).network is whole.network
    assert copy.deepcopy(kept)._last is pickle.loads(pickle.dumps(kept))._last is None


def test_a_network_ends_with_what_keeps_it(compiler):
    net, kept = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), LastCompiled()
    with frozen(net), torch.no_grad():
        kept(net, "default", 2, LAYOUT)(torch.rand(2, 1, 2, 2))
    gone = weakref.ref(net)
    del net, kept
    gc.collect()
    assert gone() is None


@pytest.mark.slow
def test_the_real_compiler(net, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    network, images = CompiledNetwork(net, "default", 4, LAYOUT), torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(gradient(network, images), gradient(net, images))
    with torch.no_grad():
        torch.testing.assert_close(network(images), net(images))


@pytest.mark.slow
def test_a_missing_compiler_is_one_line(net, tmp_path, monkeypatch):
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    network = CompiledNetwork(net, "default", 4, LAYOUT)
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, str(tmp_path / "none"))}),
        torch.no_grad(),
        pytest.raises(InputError, match=r"cannot be compiled .*: install a working C\+\+ compiler such as g\+\+, or"),
    ):
        network(torch.rand(2, 1, 8, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA graphs")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_graphs_of_a_gpu_give_the_same_and_overwrite_nothing(net, mode):
    torch._dynamo.reset()
    net = net.cuda()
    network = CompiledNetwork(net, mode, 8, LAYOUT)
    blocks = torch.rand(6, 11, 1, 8, 8, device="cuda")  # warmed up, recorded, replayed; two pieces each
    with torch.no_grad():
        outputs = [network(images) for images in blocks]
    gradients = [gradient_on(network, images) for images in blocks]
    for images, output, found in zip(blocks, outputs, gradients, strict=True):
        torch.testing.assert_close(output, net(images), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found, gradient_on(net, images), rtol=1e-3, atol=1e-4)


def gradient_on(network, images):
    images = images.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(network(images)[:, 0].sum(), images)
    return found
