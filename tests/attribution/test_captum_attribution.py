"""Methods of Captum: the same numbers as Captum gives, certified as any other method."""

import inspect

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import DeepLift, GuidedBackprop, GuidedGradCam, IntegratedGradients, LayerGradCam, Lime, Saliency
from jsonargparse import ArgumentParser
from torch import nn
from torch.nn import functional as F

from lit_certattr import Certifier, certify
from lit_certattr.attribution import Attribution, CaptumAttribution, GradCAM, Gradient, as_method
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet
from lit_certattr.smoothing import GaussianNoise

torch.manual_seed(0)
NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)).eval()
IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2, 4])


def reference(explainer, **arguments):
    images = IMAGES.clone().requires_grad_(True)
    return explainer.attribute(images, target=TARGETS, **arguments).detach()


@pytest.mark.parametrize("explainer", ["Saliency", "captum.attr.Saliency", Saliency])
def test_pixels_as_captum_gives_them(explainer):
    method = CaptumAttribution(explainer)
    assert torch.allclose(method(NET, IMAGES, TARGETS), reference(Saliency(NET)).sum(1))
    assert torch.allclose(method(NET, IMAGES, TARGETS), Gradient()(NET, IMAGES, TARGETS), atol=1e-6)
    assert repr(method) == (
        "CaptumAttribution(channels='sum_abs', explainer='Saliency', layer='input', options={}, seed=0, upsample=True)"
    )


def test_options_go_where_they_belong():
    method = CaptumAttribution(IntegratedGradients, {"n_steps": 7, "multiply_by_inputs": False}, channels="sum")
    expected = reference(IntegratedGradients(NET, multiply_by_inputs=False), n_steps=7).sum(1)
    assert torch.allclose(method(NET, IMAGES, TARGETS), expected, atol=1e-6)
    assert method == CaptumAttribution(**method.settings())
    assert method != CaptumAttribution(IntegratedGradients, {"n_steps": 8, "multiply_by_inputs": False}, channels="sum")


def test_a_layer_is_resized_as_our_own():
    method = CaptumAttribution(LayerGradCam, layer="2")
    coarse = reference(LayerGradCam(NET, NET[2]))[:, 0]
    assert torch.allclose(CaptumAttribution(LayerGradCam, layer="2", upsample=False)(NET, IMAGES, TARGETS), coarse)
    expected = F.interpolate(coarse[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(method(NET, IMAGES, TARGETS), expected)
    assert method.channels == "sum"  # negative evidence does not rank high
    net, images = CifarResNet(depth=8).eval(), torch.rand(2, 3, 32, 32)
    ours = GradCAM(relu=False)(net, images, TARGETS[:2])
    theirs = CaptumAttribution("LayerGradCam", layer="final")(net, images, TARGETS[:2])
    assert torch.allclose(ours / ours.abs().amax(), theirs / theirs.abs().amax(), atol=1e-5)


def _numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002  (the generator that Captum uses)


@pytest.mark.parametrize(
    ("explainer", "settings"),
    [
        (GuidedBackprop, {}),
        (DeepLift, {}),
        ("FeatureAblation", {"options": {"feature_mask": np.arange(4).repeat(16).reshape(8, 8).tolist()}}),
        ("Occlusion", {"options": {"sliding_window_shapes": [3, 4, 4], "strides": [3, 4, 4]}}),
        (GuidedGradCam, {"layer": "2"}),
        ("LayerActivation", {"layer": "0"}),
        ("KernelShap", {"options": {"n_samples": 8, "feature_mask": np.arange(64).reshape(8, 8).tolist()}}),
        ("GradientShap", {"options": {"baselines": 0.0, "n_samples": 3}}),
    ],
)
def test_what_captum_has_can_be_certified(explainer, settings):
    """The preflight of the certifier finds what is random, changes the network or mixes the images of a batch."""
    if explainer == "LayerActivation":
        with pytest.raises(InputError, match="LayerActivation of Captum explains no class"):
            CaptumAttribution(explainer, **settings)
        return
    method = CaptumAttribution(explainer, **settings)
    before = {name: one.clone() for name, one in NET.state_dict().items()}
    generators = torch.get_rng_state(), _numpy_state()
    certifier = Certifier(method, GaussianNoise(0.1), [PixelCertificate([0.5])], num_samples=40, batch_size=20)
    (found,) = certifier(NET, IMAGES[:1])
    assert found["pixel"].sampling["attribution"] == repr(method)
    assert method == CaptumAttribution(**method.settings())
    assert all(torch.equal(one, before[name]) for name, one in NET.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in NET.modules())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(_numpy_state(), generators[1])


def test_random_methods_are_one_function_of_the_image():
    options = {"n_samples": 8, "feature_mask": np.arange(4).repeat(16).reshape(8, 8).tolist()}
    method = CaptumAttribution("KernelShap", options, seed=3)
    together = method(NET, IMAGES, TARGETS)
    assert torch.allclose(together[2], method(NET, IMAGES[2:], TARGETS[2:])[0])
    assert torch.equal(together, method(NET, IMAGES, TARGETS))
    assert not torch.equal(together, CaptumAttribution("KernelShap", options, seed=4)(NET, IMAGES, TARGETS))


MASK = np.arange(4).repeat(16).reshape(8, 8).tolist()


@pytest.mark.parametrize(
    ("explainer", "settings"),
    [
        ("ShapleyValueSampling", {"options": {"n_samples": 3, "feature_mask": MASK}}),
        ("GradientShap", {"options": {"baselines": 0.0, "n_samples": 3}}),
        ("LayerGradientShap", {"layer": "0", "options": {"baselines": 0.0, "n_samples": 3}}),
        ("Lime", {"options": {"n_samples": 12, "feature_mask": MASK}}),
        ("KernelShap", {"options": {"n_samples": 8, "feature_mask": MASK}}),
    ],
)
def test_random_explainers_of_captum_are_one_function_of_each_image(explainer, settings):
    method = CaptumAttribution(explainer, **settings, seed=3)
    together = method(NET, IMAGES, TARGETS)
    torch.manual_seed(99)  # whatever the state of the generators, whatever the batch
    np.random.seed(99)  # noqa: NPY002  (the generator that Captum uses)
    for index in range(len(IMAGES)):
        alone = method(NET, IMAGES[index : index + 1], TARGETS[index : index + 1])[0]
        assert torch.allclose(together[index], alone, atol=1e-6)


def test_a_random_explainer_without_a_seed_is_found_out():
    """The control of the tests above: Captum itself, with numbers from the global generator, is no function."""

    def shap(model, images, targets):
        with torch.enable_grad():
            maps = captum.attr.GradientShap(model).attribute(images, torch.zeros_like(images), target=targets)
        return maps.detach().abs().sum(1)

    assert not torch.equal(shap(NET, IMAGES, TARGETS), shap(NET, IMAGES, TARGETS))
    certifier = Certifier(shap, GaussianNoise(0.1), [PixelCertificate([0.5])], num_samples=40, batch_size=20)
    with pytest.raises(InputError, match=r"random|differ"):
        certifier(NET, IMAGES[:1])


def answer(kind, layer):
    """What is said of a class; nothing if it is taken."""
    try:
        CaptumAttribution(kind, layer=layer)
    except InputError as error:
        return str(error)
    return ""


def test_every_class_of_captum_is_taken_or_refused_in_one_line():
    kinds = [getattr(captum.attr, name) for name in captum.attr.__all__]
    explainers = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, captum.attr.Attribution)]
    answers = {kind.__name__: [answer(kind, layer) for layer in ("input", "2")] for kind in explainers}
    taken = {name for name, both in answers.items() if "" in both}
    assert not [one for both in answers.values() for one in both if "\n" in one]
    assert {"Saliency", "IntegratedGradients", "LayerGradCam", "LayerConductance", "GuidedGradCam"} <= taken
    assert not {"NoiseTunnel", "NeuronGradient", "LLMAttribution", "LayerActivation"} & taken


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Salience",), r"captum.attr has no explainer 'Salience'; did you mean Saliency\?"),
        (("os.system",), "captum.attr has no explainer 'os.system'"),
        ((dict,), "explainer must be a class of captum.attr or its name"),
        (("NoiseTunnel",), r"NoiseTunnel of Captum explains no class .*use SmoothGrad\(CaptumAttribution"),
        (("FeaturePermutation",), "FeaturePermutation of Captum mixes the images of a batch: use FeatureAblation"),
        (("LayerGradCam",), "LayerGradCam of Captum explains a layer: give layer='final'"),
        (("Saliency", None, "final"), "Saliency of Captum explains pixels and takes no layer"),
        (("Saliency", {"steps": 3}), "Saliency of Captum has no option 'steps'; "),
        (("Occlusion",), "Occlusion of Captum needs sliding_window_shapes: give options="),
    ],
)
def test_mistakes_get_the_remedy(arguments, words):
    with pytest.raises(InputError, match=words):
        CaptumAttribution(*arguments)


def test_no_graph():
    with pytest.raises(InputError, match="maps without a graph"):
        CaptumAttribution("Saliency")(NET, IMAGES, TARGETS, create_graph=True)


def test_explainers_bound_to_the_network():
    assert as_method(Saliency(NET), NET) == as_method(Saliency) == CaptumAttribution("Saliency")
    assert as_method(LayerGradCam(NET, NET[2]), NET) == CaptumAttribution("LayerGradCam", layer="2")
    assert as_method(LayerGradCam) == CaptumAttribution("LayerGradCam", layer="final")
    bound = as_method(IntegratedGradients(NET, multiply_by_inputs=False), NET)
    assert bound == CaptumAttribution("IntegratedGradients", {"multiply_by_inputs": False})
    other = nn.Sequential(*NET)
    with pytest.raises(InputError, match=r"Saliency of Captum is bound to another network .* give the class"):
        as_method(Saliency(NET), other)
    with pytest.raises(InputError, match="is bound to another network"):
        as_method(Saliency(lambda images: NET(images)), NET)
    with pytest.raises(InputError, match="the layer of this LayerGradCam of Captum is no module"):
        as_method(LayerGradCam(NET, nn.ReLU()), NET)
    with pytest.raises(InputError, match="interpretable_model of this Lime of Captum cannot be recorded"):
        as_method(Lime(NET), NET)
    with pytest.raises(InputError, match="is bound to another network"):
        Certifier(Saliency(NET), GaussianNoise(0.1), [PixelCertificate()])


def test_one_line_with_captum():
    settings = {"num_samples": 60, "progress": False, "normalisation": ([0.5] * 3, [0.5] * 3)}
    by_class, by_object = (certify(NET, IMAGES[0], attribution=one, **settings) for one in (Saliency, Saliency(NET)))
    assert torch.equal(by_class["pixel"].votes, by_object["pixel"].votes)
    named = certify(NET, IMAGES[0], attribution=LayerGradCam(NET, NET[2]), **settings)
    assert "layer='2'" in named["pixel"].sampling["attribution"]  # although normalisation stands before it now


class Doubled(Saliency):
    """A user's own."""

    def attribute(self, inputs, target=None, **options):
        return 2 * super().attribute(inputs, target=target, **options)


def test_a_subclass_of_the_users_is_recorded_with_its_source():
    method = CaptumAttribution(Doubled)
    assert torch.allclose(method(NET, IMAGES, TARGETS), 2 * CaptumAttribution("Saliency")(NET, IMAGES, TARGETS))
    certifier = Certifier(method, GaussianNoise(0.1), [PixelCertificate([0.5])], num_samples=40)
    assert any(path.endswith("Doubled") for path in certifier.settings()["sources"])


def test_a_configuration_names_it():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--attribution", type=Attribution)
    settings = {"explainer": "IntegratedGradients", "options": {"n_steps": 4}}
    path = "lit_certattr.attribution.CaptumAttribution"
    parsed = parser.parse_object({"attribution": {"class_path": path, "init_args": settings}})
    made = (getattr(parser, "instantiate", None) or parser.instantiate_classes)(parsed)
    assert made.attribution == CaptumAttribution("IntegratedGradients", {"n_steps": 4})
