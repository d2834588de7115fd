"""Which id a user means."""

import pytest

from lit_certattr.data.ids import known_id, safe_id
from lit_certattr.errors import InputError

KNOWN = ["cat.jpg", "dog.jpg", "dog.png", "test__cat__001.png", "chelsea", safe_id("my cat.png")]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cat.jpg", "cat.jpg"),
        ("cat", "cat.jpg"),
        ("chelsea.png", "chelsea"),
        ("test/cat/001.png", "test__cat__001.png"),
        ("test__cat__001", "test__cat__001.png"),
        ("my cat.png", "my_cat.png-1a1dad87"),
    ],
)
def test_the_ending_may_be_left_out_and_a_path_stands_for_its_id(given, meant):
    assert known_id(given, KNOWN) == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dog", "could mean dog.jpg or dog.png: write the whole id"),
        ("cat.png", "did you mean cat.jpg?"),
        ("zebra_42", "the first are cat.jpg, dog.jpg, dog.png"),
    ],
)
def test_what_is_not_clear_is_refused(given, said):
    with pytest.raises(InputError) as caught:
        known_id(given, KNOWN)
    assert str(caught.value).endswith(said)
