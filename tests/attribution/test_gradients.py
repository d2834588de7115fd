"""The gradient methods against closed forms, finite differences and torch's own Jacobian."""

import gc

import pytest
import torch
from torch import nn

from lit_certattr.attribution import Attribution, Gradient, InputXGradient, IntegratedGradients, frozen, input_gradient
from lit_certattr.errors import InputError

METHODS = [
    Gradient(),
    Gradient("sum"),
    InputXGradient(),
    IntegratedGradients(steps=5),
    IntegratedGradients(4, max_batch=3),
]
TARGETS = torch.tensor([0, 2, 1, 2])


def smooth_net(dtype=torch.float64):
    """Small, smooth, with batch statistics that must not be used."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 5 * 6, 3)
    )
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.to(dtype).eval()


@pytest.fixture
def net():
    return smooth_net()


@pytest.fixture
def images():
    return torch.rand(4, 2, 5, 6, dtype=torch.float64)


def jacobian_gradient(net, images, targets):
    def logit(image, target):
        return net(image.unsqueeze(0))[0, target]

    pairs = zip(images, targets, strict=True)
    return torch.stack([torch.autograd.functional.jacobian(lambda z, t=t: logit(z, t), image) for image, t in pairs])


@pytest.mark.parametrize(
    ("channels", "reduce"),
    [
        ("sum_abs", lambda g: g.abs().sum(1)),
        ("abs_sum", lambda g: g.sum(1).abs()),
        ("max_abs", lambda g: g.abs().amax(1)),
        ("sum", lambda g: g.sum(1)),
    ],
)
def test_gradient_equals_the_jacobian(net, images, channels, reduce):
    expected = jacobian_gradient(net, images, TARGETS)
    torch.testing.assert_close(Gradient(channels)(net, images, TARGETS), reduce(expected))
    torch.testing.assert_close(InputXGradient(channels)(net, images, TARGETS), reduce(images * expected))


def test_default_reductions(net, images):
    expected = jacobian_gradient(net, images, TARGETS)
    torch.testing.assert_close(Gradient()(net, images, TARGETS), expected.abs().sum(1))
    torch.testing.assert_close(InputXGradient()(net, images, TARGETS), (images * expected).sum(1).abs())


def test_gradient_equals_finite_differences(net, images):
    step, image = 1e-6, images[:1]
    gradient = Gradient("sum")(net, image, TARGETS[1:2])[0]
    for row, column in ((0, 0), (2, 3), (4, 5)):
        moved = torch.zeros_like(image)
        moved[:, :, row, column] = step
        rise = (net(image + moved) - net(image - moved))[0, TARGETS[1]].item() / (2 * step)
        assert gradient[row, column].item() == pytest.approx(rise, rel=1e-5)


def test_integrated_gradients_follow_the_midpoint_rule(net, images):
    steps, baseline = 7, 0.3
    scores = IntegratedGradients(steps, baseline).scores(net, images, TARGETS)
    path = [baseline + (k + 0.5) / steps * (images - baseline) for k in range(steps)]
    mean = torch.stack([jacobian_gradient(net, points, TARGETS) for points in path]).mean(0)
    torch.testing.assert_close(scores, (images - baseline) * mean)


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_are_complete_to_second_order(net, images, baseline):
    rise = (net(images) - net(torch.full_like(images, baseline))).gather(1, TARGETS[:, None])[:, 0]
    gaps = [
        (IntegratedGradients(steps, baseline).scores(net, images, TARGETS).sum((1, 2, 3)) - rise).abs()
        for steps in (10, 20, 40)
    ]
    assert (gaps[2] < 1e-3 * rise.abs()).all()
    assert (gaps[0] / gaps[1] > 3.5).all()  # halving the step quarters the error
    assert (gaps[1] / gaps[2] > 3.5).all()


@pytest.mark.parametrize("max_batch", [1, 3, 4, 8, 9, 1000, None])
def test_the_grouping_of_steps_does_not_matter(net, images, max_batch):
    expected = IntegratedGradients(steps=5, max_batch=1)(net, images, TARGETS)
    torch.testing.assert_close(IntegratedGradients(steps=5, max_batch=max_batch)(net, images, TARGETS), expected)


def test_a_linear_network_has_closed_forms():
    weight, image = torch.randn(3, 12), torch.rand(1, 1, 3, 4)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    linear[1].weight.data = weight
    target = torch.tensor([2])
    torch.testing.assert_close(Gradient("sum")(linear, image, target)[0], weight[2].view(3, 4))
    product = (image[0, 0] * weight[2].view(3, 4)).abs()
    torch.testing.assert_close(InputXGradient()(linear, image, target)[0], product)
    torch.testing.assert_close(IntegratedGradients()(linear, image, target)[0], product)


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_are_right(net, images, method):
    """Signed maps are smooth here, absolute values almost everywhere."""
    images = images[:2].clone().requires_grad_(True)

    def of_the_images(z):
        return method(net, z, TARGETS[:2], create_graph=True)

    def of_the_weights(weight):
        swapped = {name: weight if name == "0.weight" else value for name, value in net.named_parameters()}
        patched = torch.func.functional_call
        return method(lambda z: patched(net, swapped, (z,)), images.detach(), TARGETS[:2], create_graph=True)

    assert torch.autograd.gradcheck(of_the_images, (images,), atol=1e-6)
    weight = net[0].weight.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(of_the_weights, (weight,), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_detached_and_grads_untouched(net, images, method):
    net[0].weight.grad = torch.ones_like(net[0].weight)
    images.requires_grad_(True)
    maps = method(net, images, TARGETS)
    assert maps.shape == (4, 5, 6)
    assert not maps.requires_grad
    method(net, images, TARGETS, create_graph=True)
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert net[0].bias.grad is None
    assert images.grad is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_maps_are_the_same_without_gradient_modes(net, images, method, mode):
    with frozen(net):  # gradients of frozen networks are rounded elsewhere
        expected = method(net, images, TARGETS)
    with mode():
        made_inside = images * 1
        predicted = TARGETS + 0  # an inference tensor, as argmax of logits in a validation loop is
        with frozen(net):
            maps = method(net, made_inside, predicted)
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("method", METHODS)
def test_images_of_a_batch_do_not_influence_each_other(net, images, method):
    maps = method(net, images, TARGETS)
    others = torch.rand_like(images)
    others[2] = images[2]
    torch.testing.assert_close(method(net, others, TARGETS)[2], maps[2])
    torch.testing.assert_close(method(net, images[2:3], TARGETS[2:3])[0], maps[2])
    shuffle = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(method(net, images[shuffle], TARGETS[shuffle]), maps[shuffle])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_leaks(net, images, method):
    def count():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    method(net, images, TARGETS)
    before = count()
    for _ in range(50):
        method(net, images, TARGETS)
        method(net, images, TARGETS, create_graph=True)
    assert count() <= before


def test_input_gradient_returns_the_images_of_the_graph(net, images):
    entered, gradient = input_gradient(net, images, TARGETS, create_graph=True)
    assert entered.requires_grad
    assert gradient.requires_grad
    assert not images.requires_grad
    images.requires_grad_(True)
    entered, _ = input_gradient(net, images, TARGETS, create_graph=True)
    assert entered is images


def test_a_network_without_logits_is_refused(images):
    with pytest.raises(InputError, match=r"must return logits \[B, num_classes\]"):
        Gradient()(nn.Conv2d(2, 3, 3).double(), images, TARGETS)


def test_settings_are_checked():
    with pytest.raises(InputError, match="channels must be one of sum_abs"):
        Gradient("mean")
    for wrong in ({"steps": 0}, {"max_batch": 0}):
        with pytest.raises(InputError, match="must be at least 1"):
            IntegratedGradients(**wrong)


def test_repr_names_every_setting():
    assert repr(Gradient()) == "Gradient(channels='sum_abs', layer='input', upsample=True)"
    expected = (
        "IntegratedGradients(baseline=0.0, channels='abs_sum', layer='input', max_batch=None, steps=20, upsample=True)"
    )
    assert repr(IntegratedGradients()) == expected


def test_a_users_method_needs_one_function(images):
    class Brightness(Attribution):
        def __init__(self):
            super().__init__("sum")

        def __call__(self, model, images, targets, create_graph=False):
            return self.reduce(images)

    assert torch.equal(Brightness()(None, images, TARGETS), images.sum(1))


def test_a_users_method_needs_no_channels(images):
    class Brightness(Attribution):
        def __call__(self, model, images, targets, create_graph=False):
            return images.mean(1)

    class Forgetful(Attribution):
        def __call__(self, model, images, targets, create_graph=False):
            return self.reduce(images)

    assert torch.equal(Brightness()(None, images, TARGETS), images.mean(1))
    assert repr(Brightness()) == "Brightness()"
    with pytest.raises(InputError, match="Forgetful reduces channels but was created without a rule: call super"):
        Forgetful()(None, images, TARGETS)


# frozen ---------------------------------------------------------------------------------------------------------------


def state_of(net):
    return [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]


@pytest.fixture
def mixed(net):
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


def test_frozen_freezes_everything(mixed):
    with frozen(mixed) as inside:
        assert inside is mixed
        modes, flags = state_of(mixed)
        assert not any(modes)
        assert not any(flags)


def test_frozen_restores_everything(mixed):
    before = state_of(mixed)
    with frozen(mixed):
        pass
    assert state_of(mixed) == before


def test_frozen_restores_everything_after_an_error(mixed):
    before = state_of(mixed)

    def fail():
        with frozen(mixed):
            mixed.train().requires_grad_(True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state_of(mixed) == before


def test_frozen_keeps_running_statistics(mixed, images):
    before = mixed[1].running_mean.clone(), mixed[1].num_batches_tracked.clone()
    mixed[1].train()
    with frozen(mixed):
        Gradient()(mixed, images, TARGETS)
    assert torch.equal(mixed[1].running_mean, before[0])
    assert torch.equal(mixed[1].num_batches_tracked, before[1])
