"""Every noise law trains: as augmentation, and in each objective that takes noise."""

import pytest
import torch
from objectives.catalogue import batch, tanh_net

from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import Claim
from lit_certattr.errors import InputError
from lit_certattr.numbers import Gini
from lit_certattr.objectives import (
    MACER,
    ClaimHinge,
    Consistency,
    NoiseAugmentation,
    NoiseConsistency,
    SmoothAdv,
    SmoothMix,
    Stability,
)
from lit_certattr.smoothing import (
    GAUSSIAN_LAWS,
    AffineNoise,
    BlurNoise,
    DiscreteGaussianNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    NuisanceNoise,
    PatchMaskNoise,
    UniformBallNoise,
)

LAWS = {
    "gaussian": GaussianNoise(0.1),
    "integers": DiscreteGaussianNoise(0.1),
    "ball": UniformBallNoise(0.1),
    "nuisance": NuisanceNoise(0.1, brightness=0.2, illumination=0.1),
    "exposure": ExposureNoise(exposure=0.5, shading=0.2),
    "gamma": GammaNoise(0.3, sigma=0.05),
    "contrast": AffineNoise(0.2, 0.2),
    "blur": BlurNoise(1.0, sigma=0.05),
    "patches": PatchMaskNoise(0.5, cells=2),
}
ATTACK = AttackConfig(0.1, steps=1)
ANY_LAW = {
    "augmentation": lambda noise: NoiseAugmentation(noise, draws=2),
    "consistency": lambda noise: Consistency(noise),
    "noise consistency": lambda noise: NoiseConsistency(noise, Gradient()),
    "stability": lambda noise: Stability(noise),
    "smooth adv": lambda noise: SmoothAdv(noise, ATTACK, ramp_epochs=0),
    "smooth mix": lambda noise: SmoothMix(noise, ATTACK),
}
GAUSSIAN_LAW = {
    "macer": lambda noise: MACER(noise, draws=3, margin=100.0),
    "claim hinge": lambda noise: ClaimHinge(noise, Gradient(), Claim("concentrated", Gini(), at_least=0.9), 0.1),
}


def gradients(objective, seed=0) -> torch.Tensor:
    torch.manual_seed(0)
    net, (images, targets) = tanh_net().eval(), batch()
    torch.manual_seed(seed)
    loss, _ = objective(net, images.clamp(0, 1), targets)
    assert loss.isfinite()
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(net.parameters()), allow_unused=False)])


@pytest.mark.parametrize("make", ANY_LAW.values(), ids=ANY_LAW)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_each_law_gives_gradients_that_depend_on_its_noise(law, make):
    found = gradients(make(law))
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert torch.equal(found, gradients(make(law)))
    assert not torch.equal(found, gradients(make(law), seed=1))


@pytest.mark.parametrize("make", GAUSSIAN_LAW.values(), ids=GAUSSIAN_LAW)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_formulas_of_gaussian_votes_take_the_laws_for_which_they_hold(law, make):
    if isinstance(law, GAUSSIAN_LAWS):
        found = gradients(make(law))
        assert found.isfinite().all()
        assert found.abs().max() > 0
    else:
        with pytest.raises(InputError, match="noise must be one of GaussianNoise, "):
            make(law)


def test_radii_are_in_the_unit_of_the_budget():
    """A radius that is twice the spread misses as much under each law."""
    claim = Claim("concentrated", Gini(), at_least=0.9)
    images, targets = batch()
    hinges = []
    for law, spread in ((GaussianNoise(1e-4), 1e-4), (ExposureNoise(exposure=1e-4), 1e-4), (GammaNoise(1e-4), 1e-4)):
        torch.manual_seed(0)
        _, logs = ClaimHinge(law, Gradient(), claim, radius=2 * spread)(tanh_net().eval(), images.clamp(0, 1), targets)
        hinges.append(float(logs["hinge"]))
    assert hinges[0] > 2
    assert hinges == pytest.approx([hinges[0]] * 3, rel=1e-2)
