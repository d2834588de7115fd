import functools

import pytest
import torch
from lightning import Trainer
from torch import nn

from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import FreeAdversarialTraining


class Linear(nn.Module):
    """Its gradient is known; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen: list[torch.Tensor] = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.layer(images.flatten(1))


def steps(objective, net, batches) -> None:
    for images, targets in batches:
        objective(net, images, targets)[0].backward()


def batches(count: int, size: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return [(0.4 + 0.2 * torch.rand(size, 1, 2, 2), torch.randint(2, (size,))) for _ in range(count)]


def test_uses_one_batch_in_replays():
    net, data = Linear(), batches(6)
    steps(FreeAdversarialTraining(eps=0.0, replays=3), net, data)
    for place, seen in enumerate(net.seen):
        assert torch.equal(seen, data[3 * (place // 3)][0])


def test_backward_pass_moves_the_perturbation_along_the_sign():
    net, data = Linear(), batches(4)
    objective = FreeAdversarialTraining(eps=0.1, replays=4)
    steps(objective, net, data)
    images, targets = data[0]
    weight = net.layer.weight.detach()
    towards = ((1 - 2 * targets).view(-1, 1) * (weight[1] - weight[0])).sign().view_as(images)
    assert torch.equal(net.seen[0], images)
    for seen in net.seen[1:]:
        torch.testing.assert_close(seen, images + 0.1 * towards)  # one step reaches the corner, and stays there


def test_perturbation_is_handed_on_and_stays_in_ball_and_box():
    net, data = Linear(), batches(8)
    data[4] = (torch.ones(3, 1, 2, 2), data[4][1])
    steps(FreeAdversarialTraining(eps=0.1, replays=4), net, data)
    handed = net.seen[3] - data[0][0]
    torch.testing.assert_close(net.seen[4], (1 + handed).clamp(0, 1))
    assert max(seen.max() for seen in net.seen) <= 1


@pytest.mark.parametrize(("first", "second"), [(5, 2), (2, 5)])
def test_batches_may_differ_in_size(first, second):
    net = Linear()
    data = [*batches(2, first), *batches(2, second)]
    steps(FreeAdversarialTraining(eps=0.1, replays=2), net, data)
    assert [len(seen) for seen in net.seen] == [first, first, second, second]
    if second > first:
        assert torch.equal(net.seen[2][first:], data[2][0][first:])


def test_scaled_losses_move_it_alike():
    found = []
    for scale in (1.0, 2.0**16):
        torch.manual_seed(0)
        net, objective, data = Linear(), FreeAdversarialTraining(eps=0.1, replays=2), batches(2)
        for images, targets in data:
            (scale * objective(net, images, targets)[0]).backward()
        found.append(net.seen[1])
    assert torch.equal(*found)


def test_in_the_trainer_an_epoch_has_as_many_steps_as_ever(tmp_path):
    module = RobustClassifier(
        SmallCNN(image_size=8, width=4), FreeAdversarialTraining(0.1, 4), functools.partial(torch.optim.Adam, lr=0.01)
    )
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, limit_train_batches=8,
    )  # fmt: skip
    trainer.fit(module, datamodule=Digits())
    assert trainer.global_step == 8
    assert "train/adversarial_accuracy" in trainer.callback_metrics


@pytest.mark.parametrize("settings", [{"eps": -0.1}, {"eps": float("nan")}, {"eps": 0.1, "replays": 0}])
def test_refuses_settings_out_of_range(settings):
    with pytest.raises(InputError, match="eps must be at least 0 and replays at least 1"):
        FreeAdversarialTraining(**settings)
