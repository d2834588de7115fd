"""Torch cannot forget a type of device, so these tests run in a process of their own, started by test_standin.py."""

import os

if os.environ.get("LIT_CERTATTR_STANDIN"):
    from standin.fixtures import device, no_float64  # noqa: F401

    collect_ignore = ["device.py", "fixtures.py"]  # a second import would register the device twice
else:
    collect_ignore_glob = ["*.py"]
