"""What every objective must do, whatever its loss is."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from lightning import Trainer
from objectives.catalogue import CASES, Case, abstract_or_plain, batch, tanh_net
from torch import nn

from lit_certattr import objectives
from lit_certattr.data import Digits, collate
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import Objective

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def those(choose: Callable[[Case], bool]) -> pytest.MarkDecorator:
    chosen = {name: case for name, case in CASES.items() if choose(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen)


def loss_of(objective: Objective, net: nn.Module, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return objective(net, *batch())[0]


def test_every_public_objective_is_in_the_catalogue():
    tested = {type(case()) for case in CASES.values()}
    assert {getattr(objectives, name) for name in objectives.__all__ if not abstract_or_plain(name)} <= tested


@EVERY
class TestContract:
    def test_loss_is_a_finite_scalar_that_reaches_every_parameter(self, case):
        net = tanh_net()
        loss = loss_of(case(), net)
        assert loss.shape == ()
        assert loss.isfinite()
        # A convolution before batch normalisation has a bias without effect on the base loss.
        parameters = [parameter for name, parameter in net.named_parameters() if name != "0.bias"]
        assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(loss, parameters))

    def test_logs_are_detached_scalars(self, case):
        torch.manual_seed(0)
        _, logs = case()(tanh_net(), *batch())
        assert logs
        assert all(value.shape == () and value.isfinite() and not value.requires_grad for value in logs.values())

    def test_leaves_modes_flags_gradients_and_inputs_alone(self, case):
        net = tanh_net()
        net[1].eval()
        net[0].bias.requires_grad_(False)
        net[4].bias.grad = torch.ones(3, dtype=torch.float64)
        images, targets = batch()
        torch.manual_seed(0)
        case()(net, images, targets)
        assert [part.training for part in net] == [True, False, True, True, True]
        assert [parameter.requires_grad for parameter in net.parameters()] == [True, False, *[True] * 4]
        assert net[4].bias.grad.tolist() == [1, 1, 1]
        assert [parameter.grad is None for parameter in net.parameters()] == [True] * 5 + [False]
        assert torch.equal(images, batch()[0])
        assert torch.equal(targets, batch()[1])

    def test_batch_statistics_see_the_training_passes_alone(self, case):
        net = tanh_net()
        loss_of(case(), net)
        assert net[1].num_batches_tracked == case.forwards
        before = {name: value.clone() for name, value in net.eval().state_dict().items()}
        loss_of(case(), net)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

    def test_randomness_is_torchs(self, case):
        net = tanh_net().eval()
        first, again = (loss_of(case(), net, seed=1) for _ in range(2))
        assert torch.equal(first, again)

    def test_runs_under_bfloat16(self, case):
        images, targets = batch()
        net = tanh_net().float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = case()(net, images.float(), targets)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)

    @pytest.mark.slow
    def test_overfits_one_batch(self, case):
        data = Digits()
        data.setup("fit")
        samples = collate([data.train_set[index] for index in range(16)])
        targets = torch.as_tensor(samples.target)
        net, objective = SmallCNN(image_size=8, width=4), case()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for step in range(140):  # a quarter of them is enough for most, half for all but a few
            optimizer.zero_grad()
            objective(net, samples.image, targets)[0].backward()
            optimizer.step()
            if step % 10 == 9 and (net(samples.image).argmax(1) == targets).all():
                break
        assert (net(samples.image).argmax(1) == targets).all()


@pytest.mark.slow
@those(lambda case: case is next(one for one in CASES.values() if one.make is case.make))  # each class once
def test_learns_the_digits(case, tmp_path):
    module = RobustClassifier(SmallCNN(image_size=8, width=8), case(), functools.partial(torch.optim.Adam, lr=0.02))
    trainer = quiet_trainer(tmp_path, max_epochs=4, check_val_every_n_epoch=4)
    trainer.fit(module, datamodule=Digits(batch_size=64))
    assert trainer.callback_metrics["val/accuracy"] > case.floor


@those(lambda case: case.exact_gradient)
def test_gradient_is_that_of_finite_differences(case):
    net, step = tanh_net(), 1e-6
    net[1].momentum = 0.0  # maps and attacks take running statistics as constants: let them be
    parameters = list(net.parameters())
    values = [parameter.detach().clone() for parameter in parameters]

    def loss_at(shift: float, direction: list[torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            for parameter, value, towards in zip(parameters, values, direction, strict=True):
                parameter.copy_(value + shift * towards)
        return loss_of(case(), net)

    gradients = torch.autograd.grad(loss_at(0.0, values), parameters, materialize_grads=True)
    for _ in range(3):
        direction = [torch.randn_like(value) for value in values]
        expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
        higher, lower = (loss_at(shift, direction).detach() for shift in (step, -step))
        torch.testing.assert_close((higher - lower) / (2 * step), expected, rtol=2e-6, atol=1e-8)


@those(lambda case: case.neutral is not None)
def test_without_its_regulariser_it_is_its_base(case):
    net = tanh_net()

    def loss_and_gradients(objective: Objective) -> tuple[torch.Tensor, ...]:
        own = copy.deepcopy(net)  # with batch statistics of its own
        loss = loss_of(objective, own)
        return loss.detach(), *torch.autograd.grad(loss, list(own.parameters()))

    base = loss_and_gradients(case.base())
    for objective in case.switched_off():
        torch.testing.assert_close(loss_and_gradients(objective), base, rtol=0, atol=1e-12)
    assert (loss_and_gradients(case())[0] - base[0]).abs() > 1e-5


def quiet_trainer(tmp_path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(
        **quiet | {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": tmp_path} | settings
    )
