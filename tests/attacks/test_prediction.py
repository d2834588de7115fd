import pytest
import torch

from lit_certattr.attacks import AttackConfig, attack_prediction, distance, margin
from lit_certattr.errors import InputError


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
def test_pgd_changes_predictions_that_random_noise_does_not(trained_digits, norm, loss):
    net, images, labels = (part if index == 0 else part[:40] for index, part in enumerate(trained_digits))
    config = AttackConfig(eps=1.5 if norm == "l2" else 0.15, steps=20, norm=norm)
    found = attack_prediction(net, images, labels, config, loss=loss)
    luck = attack_prediction(net, images, labels, config.random_search(), loss=loss)
    assert (distance(found, images, norm) <= config.eps).all()
    assert found.min() >= 0
    assert found.max() <= 1
    wrong, by_luck = ((net(x).argmax(1) != labels).float().mean() for x in (found, luck))
    assert wrong > 0.5
    assert by_luck < 0.2
    assert (margin(net(found), labels) > margin(net(images), labels)).all()


def test_margin_is_positive_exactly_where_the_prediction_is_wrong():
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 5
    assert torch.equal(margin(logits, labels) > 0, logits.argmax(1) != labels)


def test_a_sure_network_is_attacked_by_its_margin(trained_digits):
    """Logits a thousand times as large: the cross-entropy is 0 and has no slope, the margin has one."""
    net, images, labels = (part if index == 0 else part[:10] for index, part in enumerate(trained_digits))

    class Sure(torch.nn.Module):
        def forward(self, z):
            return 1000 * net(z)

    config = AttackConfig(eps=2.5, steps=20, init="zero")
    by_margin = attack_prediction(Sure(), images, labels, config)
    assert (net(by_margin).argmax(1) != labels).all()
    by_loss = attack_prediction(Sure(), images, labels, config, loss="cross_entropy")
    assert (net(by_loss).argmax(1) == labels).any()


def test_nothing_else_moves(trained_digits):
    net, images, labels = (part if index == 0 else part[:3] for index, part in enumerate(trained_digits))
    state = torch.get_rng_state()
    net.train()
    attack_prediction(net, images, labels, AttackConfig(eps=0.5, steps=2))
    assert net.training
    net.eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_bad_loss(trained_digits):
    net, images, labels = trained_digits
    with pytest.raises(InputError, match="loss"):
        attack_prediction(net, images, labels, AttackConfig(eps=0.1), loss="hinge")


class Spoilt(torch.nn.Module):
    """A network that is no fixed function of one image in eval mode."""

    def __init__(self, net, spoil):
        super().__init__()
        self.net, self.spoil = net, spoil

    def forward(self, images):
        return self.net(self.spoil(images))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda images: torch.nn.functional.dropout(images, 0.3), "another result for the same image each time"),
        (lambda images: images - images.mean(0), "depends on the other images of the batch"),
    ],
)
def test_a_network_that_is_random_or_mixes_images_is_refused(trained_digits, spoil, said):
    net, images, labels = (part if index == 0 else part[:3] for index, part in enumerate(trained_digits))
    with pytest.raises(InputError, match=said):
        attack_prediction(Spoilt(net, spoil), images, labels, AttackConfig(eps=0.5, steps=2))
