"""Where final layers are looked for; what they are in each family is tested with the methods that use them."""

import pytest
import timm
import torchvision
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet, SmallCNN, final_layer


def test_a_subclass_that_computes_otherwise_is_not_of_the_family():
    class Twice(torchvision.models.ResNet):
        def forward(self, x):
            return 2 * super().forward(x)

    class Same(torchvision.models.ResNet):
        pass

    block, depth = torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]
    assert final_layer(Same(block, depth)).module is not None
    with pytest.raises(InputError, match="final layer of Twice is not known"):
        final_layer(Twice(block, depth))


def test_the_one_network_inside_is_found():
    net = CifarResNet(8)
    for model in (
        net,
        nn.Sequential(nn.Identity(), net),
        nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Sequential(net)}),
    ):
        assert final_layer(model).network is net


def test_none_or_several_are_refused():
    with pytest.raises(InputError, match=r"of Linear is not known: name one of its modules, e\.g\. layer='input'"):
        final_layer(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"of Sequential is not known: name one of its modules, e\.g\. layer='0'"):
        final_layer(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(InputError, match=r"of MobileNetV3 is not known: .*, e\.g\. layer='features\.12\.0'"):
        final_layer(torchvision.models.mobilenet_v3_small())
    with pytest.raises(InputError, match=r"of MobileNetV3 is not known: .*, e\.g\. layer='blocks\.5'"):
        final_layer(timm.create_model("mobilenetv3_small_050"))  # as timm describes it
    with pytest.raises(InputError, match="holds 2 networks"):
        final_layer(nn.ModuleList([CifarResNet(8), SmallCNN()]))
