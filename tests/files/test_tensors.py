"""Safetensors files in memory: the bytes are those of the library, which reads them."""

import json

import pytest
import torch
from safetensors.torch import save

from lit_certattr.files.tensors import bytes_of, tensors_of

WORDS = {"lit_certattr": json.dumps({"a": 'quotes " and \\', "b": "ü\n\t\x01\x7f", "c": 0.1})}


def _every_type():
    numbers = torch.arange(-3, 3).reshape(2, 3)
    plain = (torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32)
    more = (torch.float64, torch.complex64, torch.bool, torch.uint8, torch.float8_e5m2, torch.float8_e4m3fn)
    tensors = {f"x{len(plain + more) - place}/{dtype}": numbers.to(dtype) for place, dtype in enumerate(plain + more)}
    wide = {f"w{dtype}": torch.arange(3).to(dtype) for dtype in (torch.uint16, torch.uint32, torch.uint64)}
    return tensors | wide | {"ü €": torch.zeros(1), "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}


@pytest.mark.parametrize("words", [WORDS, {"key": ""}, {"ß": "\u2028 / <"}])
def test_the_bytes_are_those_of_the_library(words):
    tensors = _every_type()
    assert bytes_of(tensors, words) == save(tensors, words)
    for length in range(8):  # of names, hence of headers: padded to eight bytes
        tensors = {"n" * (length + 1): torch.ones(3, dtype=torch.int8), "m": torch.ones(2)}
        assert bytes_of(tensors, words) == save(tensors, words)


def test_what_is_no_plain_tensor_in_memory_is_written_as_its_values():
    whole = torch.arange(12.0).reshape(3, 4)
    given = {
        "transposed": whole.T,
        "part": whole[:, 1:3],
        "again": whole[:, 1:3],
        "leaf": whole.clone().requires_grad_(),
    }
    words, read = tensors_of(bytes_of(given, WORDS))
    assert words == WORDS
    assert all(torch.equal(read[name], tensor) for name, tensor in given.items())
    assert set(read) == set(given)


def test_a_type_without_a_name_is_refused():
    with pytest.raises(KeyError):
        bytes_of({"a": torch.zeros(1, dtype=torch.complex128)}, WORDS)
