import pytest
import torch
from torch import nn

from lit_certattr.attacks import AttackConfig, MassCentre
from lit_certattr.attribution import Gradient, InputXGradient
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import kendall, lens_scores, top_k_intersection
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 3))


@pytest.fixture
def batch(net):
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3  # one mistake
    return images, labels


def protocol(**settings):
    search = AttackConfig(eps=0.3, steps=8, smooth_beta=10.0)
    return RobustnessProtocol(**{"attribution": Gradient(), "search": search, "top_k": 12, "windows": [1]} | settings)


def test_rows_hold_what_the_searches_found(net, batch):
    images, labels = batch
    rows = protocol(prediction_search=AttackConfig(eps=0.3, steps=5))(net, images, labels)
    assert [row["correct"] for row in rows] == [False] + [True] * 5
    assert rows[0]["adversarial_correct"] is False
    assert set(rows[0]) == {"prediction", "correct", "adversarial_correct"}
    for row in rows[1:]:
        for search in ("attack", "random"):
            assert 0 <= row[f"{search}_distance"] <= 0.3
            assert row[f"{search}_moved"] == (row[f"{search}_distance"] > 0)
            assert row[f"{search}_top_k_intersection_chance"] == pytest.approx(12 / 64)
            assert row[f"{search}_kendall"] <= 1
            if not row[f"{search}_moved"]:
                assert row[f"{search}_kendall"] == 1
    mean = {search: sum(row[f"{search}_kendall"] for row in rows[1:]) for search in ("attack", "random")}
    assert mean["attack"] < mean["random"]  # by more than luck: as many points


def test_numbers_are_those_of_the_perturbed_map(net, batch, monkeypatch):
    images, labels = batch
    found = (images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    monkeypatch.setattr(
        "lit_certattr.robustness.protocol.attack_explanation", lambda model, attribution, images, *_, **__: found[1:]
    )
    row = protocol(random_search=False)(net, images, labels)[3]
    clean, turned = (Gradient()(net, points[3:4], labels[3:4]) for points in (images, found))
    scores = lens_scores(clean, turned, 12, [1])
    assert row["attack_kendall"] == pytest.approx(kendall(clean, turned).item())
    assert row["attack_top_k_intersection"] == pytest.approx(top_k_intersection(clean, turned, 12).item())
    assert row["attack_lens_precision_w1"] == pytest.approx(scores.precision.item())
    assert row["attack_lens_recall_w1_chance"] == pytest.approx(scores.recall_chance.item())


def test_adversarial_accuracy_falls_with_the_budget(net, batch):
    images, labels = batch
    shares = []
    for eps in (0.0, 0.5, 5.0):
        rows = protocol(prediction_search=AttackConfig(eps=eps, steps=20), random_search=False)(net, images, labels)
        shares.append(sum(row["adversarial_correct"] for row in rows))
    assert shares[0] == 5
    assert shares[0] >= shares[1] >= shares[2]
    assert shares[2] < 5


@pytest.mark.parametrize("criterion", ["kendall", "top_k_intersection", "objective"])
def test_the_criterion_decides(net, batch, criterion):
    images, labels = batch
    rows = protocol(criterion=criterion, objective=MassCentre())(net, images, labels)
    assert any(row["attack_moved"] for row in rows[1:])
    # Whatever decides is never raised by the attack: what fails stays the clean image.
    best = {"kendall": "attack_kendall", "top_k_intersection": "attack_top_k_intersection"}.get(criterion)
    if best:
        others = protocol(criterion="objective", objective=MassCentre())(net, images, labels)
        assert sum(row[best] for row in rows[1:]) <= sum(row[best] for row in others[1:])


def test_no_image_is_right(net, batch):
    images, _ = batch
    wrong = (net(images).argmax(1) + 1) % 3
    rows = protocol(prediction_search=AttackConfig(eps=0.3, steps=5))(net, images, wrong)
    assert all(row == {"prediction": row["prediction"], "correct": False, "adversarial_correct": False} for row in rows)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_moves_and_evaluation_modes_do_not_matter(net, batch, mode):
    images, labels = batch
    expected = protocol()(net, images, labels)
    state = torch.get_rng_state()
    blocks = []
    with mode():
        assert protocol()(net, images.clone(), labels.clone(), blocks.append) == expected
    assert sum(blocks) == 6 * protocol().points_per_image
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_signed_maps_are_compared_by_magnitude(net, batch):
    images, labels = batch
    rows = protocol(attribution=InputXGradient(channels="sum"))(net, images, labels)
    assert all(row["attack_top_k_intersection"] <= 1 for row in rows[1:])


def test_every_number_has_a_name(net, batch):
    both = protocol(windows=[1, 2])
    row = both(net, *batch)[1]
    names = column_names(both)
    own = {name.removeprefix("attack_") for name in row if name.startswith("attack_")}
    assert set(names) <= own
    assert {name for name in own if not name.endswith(("_chance", "_adjusted")) and "picks" not in name} == set(names)


def test_bad_settings():
    with pytest.raises(InputError, match="criterion"):
        protocol(criterion="spearman")
    with pytest.raises(InputError, match="window"):
        protocol(windows=[-1])
