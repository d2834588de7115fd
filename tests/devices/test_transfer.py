"""Copies to a device; what of them waits is seen on the stand-in, tests/standin."""

import gc

import pytest
import torch

from lit_certattr.devices import constant, exact_dtype, has_float64, onto, values_are_free, wide
from lit_certattr.devices.transfer import _COPIES

META = torch.zeros(1, device="meta")


def test_onto_gives_device_and_type():
    values = torch.arange(3)
    assert onto(values, torch.zeros(1)) is values
    found = onto(values, META, torch.float16)
    assert (found.device.type, found.dtype) == ("meta", torch.float16)


def test_a_constant_is_copied_once_for_each_device_and_type():
    values = torch.arange(3.0)
    assert constant(values, torch.zeros(1)) is values
    assert constant(values, META) is constant(values, META)
    half = constant(values, META, torch.float16)
    assert half.dtype == torch.float16
    assert half is not constant(values, META)
    assert constant(values.clone(), META) is not constant(values, META)  # equal values, but another tensor


def test_copies_go_with_their_constant():
    before = len(_COPIES)
    values = torch.arange(3.0)
    constant(values, META)
    assert len(_COPIES) == before + 1
    del values
    gc.collect()
    assert len(_COPIES) == before


def test_a_constant_that_was_copied_in_inference_mode_can_be_differentiated_through():
    values, weight = torch.arange(3.0), torch.ones(3, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        constant(values, weight, torch.float64)
    (constant(values, weight, torch.float64) * weight).sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("kind", "dtype"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)])
def test_the_widest_type_of_a_device(kind, dtype):
    assert exact_dtype(torch.device(kind)) == dtype
    assert has_float64(torch.device(kind)) == (dtype == torch.float64)


def test_wide_and_free():
    assert wide(torch.ones(2, dtype=torch.float16)).dtype == torch.float64
    assert values_are_free(torch.ones(1))
    assert not values_are_free(META)
