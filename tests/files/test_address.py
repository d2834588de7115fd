"""Addresses where a path is needed."""

from pathlib import Path

import pytest

from lit_certattr.files.address import as_address


@pytest.mark.parametrize("address", ["https://a.org/b.pt", "s3://bucket/b", "gs://bucket/b", "hf://owner/name"])
def test_an_address_is_one_also_after_it_was_taken_for_a_path(address):
    assert as_address(address) == address
    assert as_address(Path(address)) == address


@pytest.mark.parametrize("path", ["", ".", "a/b", "/a/b", "C:/a", "c://a", "a:b", "https", "https:", "https://"])
def test_a_path_is_none(path):
    assert as_address(path) is None
