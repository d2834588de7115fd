"""Objects that are settings alone cannot be changed behind the back of those who share them."""

import copy
import pickle
from functools import cached_property

import pytest

from lit_certattr.errors import InputError
from lit_certattr.settings.frozen import Frozen


class Level(Frozen):
    def __init__(self, alpha, steps=1):
        self.alpha = alpha
        self.steps = 0
        self.steps = steps  # still being made

    @cached_property
    def half(self):
        return self.alpha / 2


class Named(Level):
    def __init__(self, name):
        super().__init__(0.5)
        self.name = name  # the base has finished, the object has not


class Same(Level):
    pass


@pytest.mark.parametrize("make", [lambda: Level(0.5), lambda: Named("a"), lambda: Same(0.5)])
@pytest.mark.parametrize("twin", [lambda x: x, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_nothing_can_be_set_or_deleted_once_it_is_made(make, twin):
    made = twin(make())
    kind = type(made).__name__
    for change in (
        lambda: setattr(made, "alpha", 0.1),
        lambda: setattr(made, "alpha", made.alpha),
        lambda: setattr(made, "unheard_of", 1),
        lambda: delattr(made, "alpha"),
    ):
        with pytest.raises(InputError, match=rf"(alpha|unheard_of) of a {kind} cannot be changed: make a new {kind}"):
            change()
    assert made.alpha == 0.5
    assert not hasattr(made, "unheard_of")


def test_what_follows_from_the_settings_may_be_kept():
    made = Level(0.5)
    assert (made.half, made.half) == (0.25, 0.25)


def test_an_object_whose_making_failed_is_none():
    with pytest.raises(TypeError):
        Named()
