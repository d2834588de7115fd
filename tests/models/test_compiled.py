"""A compiled network is recognised, and recognising it does not import the compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lit_certattr.models.compiled import is_compiled


def test_compiled_networks_are_recognised():
    plain = nn.Linear(2, 2)
    assert not is_compiled(plain)
    assert is_compiled(torch.compile(plain))
    plain.compile()
    assert is_compiled(plain)


@pytest.mark.slow
def test_the_compiler_is_not_imported():
    code = (
        "import sys; from lit_certattr.models.compiled import is_compiled; from torch import nn\n"
        "before = set(sys.modules); is_compiled(nn.ReLU()); assert set(sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
