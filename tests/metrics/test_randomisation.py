"""The randomisation check: what it changes, in which order, what it leaves alone, and whom it convicts."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lit_certattr.attribution import Attribution, Gradient, InputXGradient, IntegratedGradients
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import parameter_randomisation
from lit_certattr.metrics.functional.randomisation import execution_order, reinitialise
from lit_certattr.models import CifarResNet, SmallCNN


class Edges(Attribution):
    """An edge detector that ignores the network: the classical culprit."""

    def __init__(self):
        super().__init__("sum_abs")

    def __call__(self, model, images, targets, create_graph=False):
        return self.reduce(torch.diff(images, dim=3, append=images[..., -1:]))


class Recording(Attribution):
    """Keeps the parameters of the networks it sees, in passing."""

    def __init__(self):
        super().__init__("sum_abs")
        self.seen = []

    def __call__(self, model, images, targets, create_graph=False):
        self.seen.append({name: value.clone() for name, value in model.state_dict().items()})
        assert not model.training
        return Gradient()(model, images, targets)


class Patches(nn.Module):
    """A transformer in small: parameters of its own, and a module that is used without being called."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)  # registered first, executed last
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.embed = nn.Linear(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        tokens = torch.cat(
            [self.token.expand(len(images), -1, -1), self.embed(images.flatten(2)[:, 0].unfold(1, 4, 4))], 1
        )
        return self.head(self.attention(tokens, tokens, tokens)[0][:, 0])


def network():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    nn.init.uniform_(net[1].weight, 0.5, 2)  # so that a fresh one differs
    return net


def images(count=4):
    return torch.rand(count, 1, 8, 8)


TARGETS = torch.tensor([0, 1, 2, 0])


def test_layers_from_the_logits_down():
    assert parameter_randomisation(network(), images(), TARGETS, Gradient()).layers == ("4", "1", "0")
    assert execution_order(Patches(), images(1)) == ["", "embed", "attention", "attention.out_proj", "head"]
    names = execution_order(CifarResNet(depth=8), torch.rand(1, 3, 32, 32))
    assert len(names) == len(set(names))
    assert names[-1].startswith(("fc", "classifier", "head", "linear"))


def test_each_step_changes_one_layer_more():
    net, method = network(), Recording()
    parameter_randomisation(net, images(), TARGETS, method)
    original = net.state_dict()
    for step, state in enumerate(method.seen):
        changed = {name.partition(".")[0] for name, value in state.items() if not torch.equal(value, original[name])}
        assert changed == set(("4", "1", "0")[:step])
    assert len(method.seen) == 4


def test_similarities_equal_scipy():
    net, pictures, method = network(), images(), InputXGradient(channels="sum")
    found = parameter_randomisation(net, pictures, TARGETS, method, top_k=0.25, max_batch=3)
    recording = Recording()
    parameter_randomisation(net, pictures, TARGETS, recording)
    original = method(net.eval(), pictures, TARGETS)
    for row, state in enumerate(recording.seen):
        other = network().eval()
        other.load_state_dict(state)
        maps = method(other, pictures, TARGETS)
        for i in range(4):
            a, b = original[i].flatten().numpy(), maps[i].flatten().numpy()
            assert float(found.spearman[row, i]) == pytest.approx(spearmanr(a, b).statistic, abs=1e-5)
            assert float(found.spearman_absolute[row, i]) == pytest.approx(
                spearmanr(abs(a), abs(b)).statistic, abs=1e-5
            )
            shared = set(np.argsort(-a)[:16]) & set(np.argsort(-b)[:16])
            assert float(found.top_k_intersection[row, i]) == pytest.approx(len(shared) / 16)
    assert found.spearman[0].tolist() == pytest.approx([1] * 4)
    assert found.chance == 0.25


def test_the_model_and_the_generators_are_left_exactly_as_found():
    net = network()
    net(images()).sum().backward()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    grads, pictures, state = [p.grad.clone() for p in net.parameters()], images(), torch.get_rng_state()
    with torch.inference_mode():
        first = parameter_randomisation(net, pictures + 0, TARGETS, Gradient())
    second = parameter_randomisation(net, pictures, TARGETS, Gradient())
    assert torch.equal(first.spearman, second.spearman)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net] == [True, False, True, True, True]
    assert not net[0].weight.requires_grad
    assert net[4].weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(net.parameters(), grads, strict=True))
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_an_edge_detector_is_convicted_and_the_gradient_is_not():
    net = SmallCNN(image_size=8, width=8)
    pictures, targets = images(), torch.tensor([1, 2, 3, 4])
    edges = parameter_randomisation(net, pictures, targets, Edges())
    assert (edges.spearman == 1).all()
    assert (edges.top_k_intersection == 1).all()
    gradient = parameter_randomisation(net, pictures, targets, Gradient())
    assert gradient.spearman[-1].mean() < 0.5


def test_seeds_and_named_layers():
    net, pictures = network(), images()

    def run(method=Gradient, **settings):
        return parameter_randomisation(net, pictures, TARGETS, method(), **settings)

    assert torch.equal(run().spearman, run(seed=0).spearman)
    assert not torch.equal(run().spearman, run(seed=1).spearman)
    assert run(layers=["0"]).layers == ("0",)
    assert torch.equal(run(layers=["4"]).spearman[1], run().spearman[1])  # a layer's parameters depend on its name
    whole = run(layers=[""])
    assert whole.spearman.shape == (2, 4)
    assert run(IntegratedGradients).spearman.shape == (4, 4)


def test_parameters_without_an_initialisation_keep_their_size():
    net = Patches()
    token, weight = net.token.detach().clone(), net.head.weight.detach().clone()
    with torch.no_grad():
        reinitialise(net, 5, with_children=False)
    assert not torch.equal(net.token, token)
    assert torch.equal(net.head.weight, weight)
    big = nn.ParameterList([torch.full((10_000,), 3.0)])
    with torch.no_grad():
        reinitialise(big, 5, with_children=False)
    assert float(big[0].detach().std()) == pytest.approx(3, rel=0.05)
    other = nn.ParameterList([torch.full((10_000,), 3.0)])
    with torch.no_grad():
        reinitialise(other, 5, with_children=False)
    assert torch.equal(big[0], other[0])


def test_constant_maps_are_undefined_and_do_not_stop_the_plot():
    linear = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    found = parameter_randomisation(linear, images(), TARGETS, Gradient())
    assert found.spearman.isnan().all()
    assert found.top_k_intersection.isnan().all()
    found.plot().canvas.draw()
    figure = parameter_randomisation(network(), images(), TARGETS, Gradient()).plot()
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["original", "4", "1", "0"]
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parameter_randomisation(nn.Flatten(), images(), TARGETS, Gradient()), "no parameters to randomise"),
        (
            lambda: parameter_randomisation(
                SmallCNN(image_size=8), images(), TARGETS, Gradient(), layers=["classifer"]
            ),
            "layer 'classifer' is unknown: did you mean classifier",
        ),
        (lambda: parameter_randomisation(network(), images(), TARGETS, Gradient(), layers=[]), "at least one layer"),
        (lambda: parameter_randomisation(network(), images(), TARGETS, Gradient(), top_k=64), "must select"),
        (lambda: parameter_randomisation(network(), images(), TARGETS, Gradient(), max_batch=0), "max_batch must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
