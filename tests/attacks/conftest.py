import pytest
import torch
from torch import nn

from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN


@pytest.fixture(scope="session")
def digits():
    """A network trained on scikit-learn's digits (blown up to 16x16), test images, and the classes it predicts."""
    data = Digits()
    data.setup("fit")

    def tensors(samples):
        images = torch.stack([samples[index][0] for index in range(len(samples))])
        return nn.functional.interpolate(images, size=(16, 16), mode="bilinear"), torch.tensor(samples.targets)

    (images, labels), (held_out, _) = tensors(data.train_set), tensors(data.test_set)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SmallCNN(image_size=16, width=8, mean=(0.3,), std=(0.35,))
        optimizer = torch.optim.Adam(net.parameters(), 4e-3)
        for _ in range(8):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                noisy = images[batch] + 0.1 * torch.randn_like(images[batch])
                nn.functional.cross_entropy(net(noisy), labels[batch]).backward()
                optimizer.step()
    net.eval().zero_grad()
    with torch.no_grad():
        assert (net(images).argmax(1) == labels).float().mean() > 0.95
        return net, held_out, net(held_out).argmax(1)
