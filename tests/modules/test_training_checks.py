"""A network or data that cannot be trained are named in one line, before the first step."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_certattr.data import Digits, SampleSet, collate
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.modules.training_checks import check_data, check_logits_fit
from lit_certattr.objectives import CrossEntropy


@pytest.fixture(scope="module")
def data():
    data = Digits()
    data.setup("fit")
    return data


class Net(nn.Module):
    """A linear network with something done to its logits."""

    def __init__(self, change, classes: int = 10) -> None:
        super().__init__()
        self.change, self.linear = change, nn.Linear(64, classes)

    def forward(self, images):
        return self.change(self.linear(images.flatten(1)))


def with_nan() -> Net:
    net = Net(lambda logits: logits)
    net.linear.weight.data[0, 0] = torch.nan
    return net


NETWORKS = {
    "tuple": (lambda: Net(lambda logits: (logits, logits)), "tuple"),
    "dict": (lambda: Net(lambda logits: {"logits": logits}), "dict"),
    "one logit": (lambda: Net(lambda logits: logits, 1), "one logit s"),
    "fewer logits": (lambda: Net(lambda logits: logits, 3), "3 logits, but there is a label 9: it needs at least 10"),
    "NaN weights": (with_nan, r"weight linear\.weight holds NaN"),
    "error": (lambda: Net(lambda logits: logits @ torch.ones(3)), "RuntimeError"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_that_cannot_be_trained(case, data):
    build, message = NETWORKS[case]
    with pytest.raises(InputError, match=message) as caught:
        check_logits_fit(build(), data)
    assert "\n" not in str(caught.value)


@pytest.fixture
def trainer(tmp_path):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    return Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, num_sanity_val_steps=0, **quiet)


@pytest.mark.parametrize("case", NETWORKS)
def test_are_refused_in_a_trainer_of_ones_own(case, data, trainer):
    loader = DataLoader(data.train_set.subset(range(64)), batch_size=64, collate_fn=collate)
    build, message = NETWORKS[case]
    with pytest.raises(InputError, match=message):
        trainer.fit(RobustClassifier(build(), CrossEntropy()), loader, loader)


def test_a_good_network_is_left_as_it_was(data):
    net = SmallCNN(image_size=8, width=2)
    net.features.eval()
    state = torch.get_rng_state()
    check_logits_fit(net, data)
    assert net.training
    assert not net.features.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_data_that_cannot_be_trained_on(data):
    other = Digits()
    other.num_classes = 10
    other.train_set = SampleSet(torch.zeros(2, 1, 8, 8), [0, 12], ["a", "b"])
    with pytest.raises(InputError, match="image b has the label 12, but Digits has the classes 0 to 9"):
        check_data(SmallCNN(image_size=8), other)
    other.train_set = SampleSet(torch.zeros(0, 1, 8, 8), [], [])
    with pytest.raises(InputError, match="Digits has no training images: the set is empty"):
        check_data(SmallCNN(image_size=8), other)


@pytest.mark.filterwarnings("ignore:Total length of")
def test_loaders_without_a_batch(data, trainer):
    loader = DataLoader(data.train_set.subset(range(3)), batch_size=4, drop_last=True, collate_fn=collate)
    with pytest.raises(InputError, match="nothing was trained: the training data make no batch"):
        trainer.fit(RobustClassifier(SmallCNN(image_size=8, width=2), CrossEntropy()), loader, loader)


def test_labels_beyond_the_logits_are_found_in_any_batch(trainer):
    samples = SampleSet(torch.rand(4, 1, 8, 8), [0, 1, 2, 12], list("abcd"))
    loader = DataLoader(samples, batch_size=2, collate_fn=collate)
    with pytest.raises(InputError, match="10 logits, but there is a label 12: it needs at least 13"):
        trainer.fit(RobustClassifier(SmallCNN(image_size=8), CrossEntropy()), loader, loader)


def test_labels_beyond_the_logits_are_found_in_validation(trainer):
    samples = SampleSet(torch.rand(2, 1, 8, 8), [0, 10], ["a", "b"])
    loader = DataLoader(samples, batch_size=2, collate_fn=collate)
    with pytest.raises(InputError, match="10 logits, but there is a label 10"):
        trainer.validate(RobustClassifier(SmallCNN(image_size=8), CrossEntropy()), loader, verbose=False)


@pytest.mark.parametrize("fits", [True, False])
def test_infinite_logits_in_validation_warn_while_the_weights_are_finite_and_training_goes_on(fits, data, trainer):
    net = Net(lambda logits: logits if net.training else logits * torch.inf)
    module = RobustClassifier(net, CrossEntropy())
    module._num_logits = 10
    loader = DataLoader(data.train_set.subset(range(8)), batch_size=8, collate_fn=collate)
    if fits:
        module.setup = lambda stage: None  # the first batch is not tried in eval mode
        with pytest.warns(UserWarning, match="infinite logits for val images in epoch 0"):
            trainer.fit(module, loader, loader)
    else:
        with pytest.raises(InputError, match="NaN or infinite logits for the val images"):
            trainer.validate(module, loader, verbose=False)
