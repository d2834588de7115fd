"""Methods by name, by class, and as functions."""

import pytest

from lit_certattr import attribution
from lit_certattr.attribution import Attribution, GradCAM, Gradient, InputXGradient, SmoothGrad, as_method
from lit_certattr.errors import InputError


@pytest.mark.parametrize("name", ["grad_cam", "GradCAM", "gradcam", "Grad-CAM", "grad cam"])
def test_a_name_in_any_spelling(name):
    assert as_method(name) == GradCAM()


def test_every_method_without_arguments_has_a_name():
    kinds = [getattr(attribution, name) for name in attribution.__all__]
    made = []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Attribution):
            try:
                made.append(kind())
            except TypeError:
                continue
    assert len(made) > 15
    for method in made:
        assert as_method(type(method).__name__.lower()) == method
        assert as_method(type(method)) == method


def test_what_is_no_method_gets_the_remedy():
    with pytest.raises(InputError, match=r"no attribution method 'gradiant'; did you mean Gradient"):
        as_method("gradiant")
    with pytest.raises(InputError, match=r"'grad_cam_pluss'; did you mean GradCAMPlusPlus.*; an explainer of"):
        as_method("grad_cam_pluss")
    with pytest.raises(InputError, match=r"'zebra'; the known names are AblationCAM, "):
        as_method("zebra")
    with pytest.raises(InputError, match=r"SmoothGrad needs base, noise: give an object, SmoothGrad\(base=...\)"):
        as_method("smooth_grad")
    for nothing in (None, 3, [Gradient()], dict):
        with pytest.raises(InputError, match="attribution must be"):
            as_method(nothing)


def test_names_work_inside_other_methods():
    from lit_certattr.smoothing import GaussianNoise

    named = SmoothGrad("input_x_gradient", GaussianNoise(0.1))
    assert named == SmoothGrad(InputXGradient(), GaussianNoise(0.1))
