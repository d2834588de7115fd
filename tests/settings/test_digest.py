"""What makes two objects of a user different: their state, and the source of all that they are made of."""

import functools
import importlib
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict, deque
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lit_certattr.attribution import LIME, RISE, Attribution, Gradient, SmoothGrad
from lit_certattr.attribution.fixed import Fixed
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings, places
from lit_certattr.settings.digest import digest
from lit_certattr.settings.foreign import check_unchanged, foreign_identity, foreign_parts
from lit_certattr.smoothing import GaussianNoise

METHOD = """
import torch
from lit_certattr.attribution import Attribution
import neighbour
from neighbour import halved

SHIFT = 1.0
TABLE = {"a": 1, "b": 2}

def scale(maps):
    return 2 * maps

def not_used():
    return 1

class Base(Attribution):
    power = 2

    def __init__(self, factor=1.0):
        self._factor = factor

class Mine(Base):
    def __call__(self, model, images, targets, create_graph=False, bias=0.0):
        def inner(maps):
            return maps + SHIFT + bias + TABLE["a"]
        return inner(scale(halved(images.sum(1)))) + neighbour.OFFSET

def explain(model, images, targets):
    return scale(images.sum(1))
"""
NEIGHBOUR = """
OFFSET = 3
def halved(maps):
    return maps / 2
def not_used_either():
    return 1
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Imports the module of a user afresh, with changes of its text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def imported(*changes):
        for name, text in (("users_method", METHOD), ("neighbour", NEIGHBOUR)):
            for old, new in changes:
                text = text.replace(old, new)
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        for cached in tmp_path.rglob("*.pyc"):
            cached.unlink()
        return importlib.import_module("users_method")

    yield imported
    for name in ("users_method", "neighbour"):
        sys.modules.pop(name, None)


def sources(module):
    return foreign_identity({"attribution": module.Mine()})["sources"]


CHANGES = {
    "its own method": ("scale(halved(images.sum(1)))", "scale(halved(images.mean(1)))"),
    "a function within its method": ("maps + SHIFT + bias", "maps - SHIFT + bias"),
    "a default": ("bias=0.0", "bias=0.5"),
    "its base class": ("self._factor = factor", "self._factor = factor + 1"),
    "an attribute of its base class": ("power = 2", "power = 3"),
    "a function of its module": ("return 2 * maps", "return 3 * maps"),
    "a constant of its module": ("SHIFT = 1.0", "SHIFT = 1.5"),
    "a table of its module": ('"a": 1', '"a": 5'),
    "a function of a neighbour": ("return maps / 2", "return maps / 3"),
    "a constant of a neighbour": ("OFFSET = 3", "OFFSET = 4"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_the_source_is_found(load, what):
    before = sources(load())
    assert before.keys() == {"users_method.Mine", "users_method.Base"}
    assert sources(load(CHANGES[what])) != before
    assert sources(load()) == before


@pytest.mark.parametrize(
    "body",
    [
        "import neighbour; return neighbour.halved(images.sum(1))",
        "from neighbour import halved as half; return half(images.sum(1))",
        "return importing(images.sum(1))",
    ],
)
def test_a_change_of_what_a_method_imports_itself_is_found(load, body):
    importing = "def importing(maps):\n    import neighbour as n\n    return n.halved(maps)\n"
    head = ("import neighbour\nfrom neighbour import halved\n", importing)
    inside = [head, ("return inner(scale(halved(images.sum(1)))) + neighbour.OFFSET", body)]
    before = sources(load(*inside))
    assert sources(load(*inside, CHANGES["a function of a neighbour"])) != before
    load(*inside).Mine()(None, torch.ones(1, 1, 2, 2), None)  # now the neighbour is imported anyway
    assert sources(sys.modules["users_method"]) == before


def test_a_change_of_what_a_package_holds_is_found(load, tmp_path):
    def sources_with(text):
        (tmp_path / "users_package").mkdir(exist_ok=True)
        (tmp_path / "users_package" / "__init__.py").touch()
        (tmp_path / "users_package" / "far.py").write_text(text)
        for name in ("users_package", "users_package.far"):
            sys.modules.pop(name, None)
        call = ("scale(halved(images.sum(1)))", "users_package.far.away(images.sum(1))")
        return sources(load(("import neighbour\n", "import neighbour\nimport users_package.far\n"), call))

    assert sources_with("def away(maps): return maps") != sources_with("def away(maps): return -maps")


def test_a_wrapper_counts_beside_what_it_wraps(load):
    wrapper = "def scale(maps):"
    wraps = (
        "import functools\ndef doubled(function):\n    @functools.wraps(function)\n    def call(*given):\n"
        "        return 2 * function(*given)\n    return call\n\n@doubled\ndef scale(maps):"
    )
    before = sources(load((wrapper, wraps)))
    assert sources(load((wrapper, wraps.replace("2 * function", "3 * function")))) != before


def test_code_that_was_executed_as_text_counts(load):
    text = "space = {}\nexec('def scale(maps): return 2 * maps', space)\nscale = space['scale']\n"
    change = ("def scale(maps):\n    return 2 * maps\n", text)
    before = sources(load(change))
    assert sources(load((change[0], text.replace("2 *", "3 *")))) != before


def test_torch_may_lie_in_another_folder_of_packages(load, monkeypatch):
    """As with --system-site-packages or pip install --user: what torch is made of is not what the user has written."""
    monkeypatch.setattr(places, "_INSTALLED", ())
    call = ("scale(halved(images.sum(1)))", "torch.autograd.grad(images.sum(), images)[0].sum(1)")
    before = sources(load(call))
    assert sources(load(call, CHANGES["a default"])) != before


def test_a_chain_of_functions_without_end_is_refused_in_one_line(load):
    chain = "\n".join(f"def step{place}(maps):\n    return step{place + 1}(maps)" for place in range(2000))
    module = load(("def not_used():\n    return 1", chain), ("scale(halved", "step0(halved"))
    with pytest.raises(InputError, match="is nested too deeply to be told from another"):
        sources(module)


def test_what_is_not_used_may_change(load):
    before = sources(load())
    assert sources(load(("def not_used():\n    return 1", "def not_used():\n    return 2"))) == before
    assert sources(load(("def not_used_either():\n    return 1", "def not_used_either():\n    return 2"))) == before


def test_a_change_of_what_a_function_calls_is_found(load):
    before = digest(load().explain, "it")
    assert digest(load(("return 2 * maps", "return 3 * maps")).explain, "it") != before
    assert digest(load(("OFFSET = 3", "OFFSET = 4")).explain, "it") == before  # which it does not use


SCRIPT = """
import torch
import users_method
from lit_certattr.settings.digest import digest

method = users_method.Mine(0.5)
method._words = {"one", "two", "three", "four", "five"}
method._by_word = {word: {word, "x"} for word in method._words}
method._net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
with torch.no_grad():
    method._net[0].weight.fill_(1), method._net[0].bias.fill_(1)
namespace = {"Attribution": users_method.Attribution, "__name__": "typed_in"}
exec("class Typed(Attribution):\\n    def __call__(self, x): return x in {'a', 'b', 'c', 'd'}", namespace)
found = digest([method, namespace["Typed"]], "it")
"""


@pytest.mark.xdist_group("processes")
def test_a_digest_is_the_same_in_every_process(load, tmp_path):
    """Whatever the seed of the hashes of strings, which orders sets."""
    load()
    here: dict[str, str] = {}
    exec(SCRIPT, here)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    there = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT}\nprint(found)"],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert there.strip() == here["found"]
    assert len(here["found"]) == 64


def typed(text):
    """A class or function without source, as if it was typed in."""
    space = {"Attribution": Attribution, "__name__": "typed_in"}
    exec(text, space)
    return space["it"]


def test_code_without_source_is_told_apart_by_what_was_compiled():
    text = "class it(Attribution):\n    def __call__(self, model, images, targets):\n        return {} * images"
    assert digest(typed(text.format(2)), "it") == digest(typed(text.format(2)), "it")
    assert digest(typed(text.format(2)), "it") != digest(typed(text.format(3)), "it")
    assert digest(typed("it = lambda x: x + 1"), "it") != digest(typed("it = lambda x: x + 2"), "it")


def make_class(factor):
    class Made(Attribution):
        def __call__(self, model, images, targets, create_graph=False):
            return factor * images.sum(1)

    return Made


def make_function(factor):
    def explain(model, images, targets, create_graph=False):
        return factor * images.sum(1)

    return explain


def decorated(factor):
    class Made(Attribution):
        @torch.no_grad()
        def __call__(self, model, images, targets, create_graph=False):
            return factor * images.sum(1)

    return Made


def weighted(factor):
    def explain(model, images, targets):
        return explain.factor * images.sum(1)

    explain.factor = factor
    return explain


LOCK = threading.Lock()


def guarded(factor):
    lock = threading.Lock()

    class Made(Attribution):
        def __call__(self, model, images, targets, create_graph=False):
            with lock, LOCK:
                return factor * images.sum(1)

    return Made


@pytest.mark.parametrize("make", [make_class, make_function, decorated, weighted, guarded])
def test_what_is_closed_over_counts(make):
    assert digest(make(2.0), "it") == digest(make(2.0), "it")
    assert digest(make(2.0), "it") != digest(make(2.5), "it")
    assert digest(make(torch.ones(2)), "it") != digest(make(torch.zeros(2)), "it")


def test_lambdas_of_one_line_are_two_functions():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert digest(first, "it") != digest(second, "it")


class Table(Attribution):
    """Its state does not come from arguments."""

    def __init__(self):
        self._table = None

    def __call__(self, model, images, targets, create_graph=False):
        return images.sum(1)

    @cached_property
    def kernel(self):
        return threading.Lock()


def table(value):
    method = Table()
    method._table = value
    return method


class Odd:
    __slots__ = ("one", "two")

    def __init__(self, one, two):
        self.one, self.two = one, two


class Hidden(Settings):
    __slots__ = ("__value",)

    def __init__(self, value):
        self.__value = value


def linear(value):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, 0)
    return nn.Sequential(layer, nn.ReLU())


def dropout(p):
    return nn.Dropout(p)


STATES = {
    "number": (1.0, 2.0),
    "type of a number": (1, True),
    "text": ("a", "b"),
    "list or tuple": ([1], (1,)),
    "tensor": (torch.zeros(3), torch.ones(3)),
    "shape": (torch.zeros(4), torch.zeros(2, 2)),
    "type": (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    "no dimension": (torch.tensor(1.0), torch.tensor(2.0)),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
    "complex": (torch.tensor([1j]), torch.tensor([1j]).conj()),
    "sparse": (torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse()),
    "transposed": (torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 4]]).mT),
    "array": (np.zeros(3), np.ones(3)),
    "masked array": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "fields": (np.zeros(2, dtype=[("a", "f4")]), np.zeros(2, dtype=[("b", "f4")])),
    "buffer": (nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))),
    "private slot": (Hidden(1), Hidden(2)),
    "dictionary with a default": (defaultdict(int, a=1), defaultdict(int, a=2)),
    "queue": (deque([1, 2]), deque([2, 1])),
    "array of objects": (np.array([None, 1], dtype=object), np.array([None, 2], dtype=object)),
    "network": (linear(1.0), linear(2.0)),
    "network without weights": (dropout(0.1), dropout(0.2)),
    "method": (Gradient(), Gradient("l2")),
    "object with slots": (Odd(1, 2), Odd(1, 3)),
    "function": (make_function(1), make_function(2)),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "bound method": (Odd(1, 2).__init__, Odd(1, 3).__init__),
    "generator": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    "random": (random.Random(1), random.Random(2)),
    "numpy's generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "class": (Gradient, GaussianNoise),
    "set": ({1, 2}, {1, 3}),
    "path": (Path("a"), Path("b")),
    "nested": ({"a": [1, {"b": torch.zeros(1)}]}, {"a": [1, {"b": torch.ones(1)}]}),
    "cached function": (functools.lru_cache(make_function(1)), functools.lru_cache(make_function(2))),
}


@pytest.mark.parametrize("what", STATES)
def test_private_state_is_found(what):
    one, two = STATES[what]
    identity = foreign_identity({"attribution": table(one)})
    assert identity == foreign_identity({"attribution": table(one)})
    assert identity["sources"] == foreign_identity({"attribution": table(two)})["sources"]
    assert identity["states"] != foreign_identity({"attribution": table(two)})["states"]
    assert table(one) == table(one)
    assert table(one) != table(two)


def test_equal_state_is_equal():
    assert table({"a": 1, "b": 2}) == table({"b": 2, "a": 1})
    assert table(linear(1.0)) == table(linear(1.0))
    assert table(torch.tensor([[1, 3], [2, 4]]).mT) == table(torch.tensor([[1, 2], [3, 4]]))
    circle = [1]
    circle.append(circle)
    again = [1]
    again.append(again)
    assert table(circle) == table(again)
    assert table(circle) != table([1, [1]])


def test_what_is_cached_does_not_count():
    method = Table()
    before = digest(method, "it")
    assert method.kernel.locked() is False
    assert digest(method, "it") == before
    kept = Fixed()
    method = table(kept)
    before = digest(method, "it")
    kept.get_or_make("a", lambda: torch.ones(1))
    assert digest(method, "it") == before


@pytest.mark.parametrize("value", [threading.Lock(), (x for x in "a"), torch.ones(1, device="meta")])
def test_what_nobody_can_tell_apart_is_refused_and_named(value):
    with pytest.raises(InputError, match="attribution: _table is or holds an object") as caught:
        foreign_identity({"attribution": table({"deep": [value]})})
    assert "\n" not in str(caught.value)
    assert table(value) != table(value)
    method = table(value)
    assert method == method


def test_the_attribute_is_named():
    message = r"attribution: _table is or holds an object of class lock, .* functools\.cached_property"
    with pytest.raises(InputError, match=message):
        foreign_identity({"attribution": table([threading.Lock()])})


class Ring(Settings):
    """Names itself."""

    def __init__(self, name):
        self.name = name
        self._ring = [self]


def test_an_object_that_holds_itself_has_a_digest():
    assert Ring("a") == Ring("a")
    assert Ring("a") != Ring("b")


def test_foreign_classes_are_found_where_they_are_nested():
    assert list(foreign_parts(SmoothGrad(Gradient(), GaussianNoise(0.1)))) == []
    assert list(foreign_parts(SmoothGrad(Table(), GaussianNoise(0.1)))) == [Table]
    assert foreign_identity({"attribution": SmoothGrad(Gradient(), GaussianNoise(0.1))}) == {}
    nested = foreign_identity({"attribution": SmoothGrad(Table(), GaussianNoise(0.1)), "noise": GaussianNoise(0.25)})
    assert nested["sources"].keys() == {f"{__name__}.Table"}
    assert nested["states"].keys() == {"attribution"}
    other = SmoothGrad(table(1), GaussianNoise(0.1))
    assert foreign_identity({"attribution": other})["states"] != nested["states"]
    assert other != SmoothGrad(table(2), GaussianNoise(0.1))


def test_methods_of_this_package_keep_their_settings_alone():
    """An attribute that was set by hand and that no record would show."""
    changed = LIME(segmentation=[[0, 1], [1, 0]])
    changed._labels = torch.tensor([[0, 0], [1, 1]])
    grad = Gradient()
    grad.reduce = lambda scores: scores.sum(1)
    for method in (changed, grad, SmoothGrad(grad, GaussianNoise(0.1))):
        with pytest.raises(InputError, match=r"was changed after it was created, .* create another"):
            foreign_identity({"attribution": method})
    grad = Gradient()
    grad.channels = "l2"
    rise = RISE(num_masks=3, cells=2)
    rise(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.rand(1, 1, 4, 4), torch.tensor([0]))
    for method in (grad, rise, LIME(segmentation=np.array([[0, 1]])), LIME(segmentation=torch.tensor([[0, 1]]))):
        check_unchanged(method)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


def test_a_method_of_ours_that_was_patched_is_foreign(monkeypatch):
    def mine(self, model, images, targets, create_graph=False):
        return images.sum(1)

    assert foreign_identity({"attribution": Gradient()}) == {}
    monkeypatch.setattr(Gradient, "__call__", mine)
    identity = foreign_identity({"attribution": SmoothGrad(Gradient(), GaussianNoise(0.1))})
    assert [name.rpartition(".")[2] for name in identity["sources"]] == ["mine"]


@given(VALUES, VALUES)
def test_values_have_one_digest_if_and_only_if_they_read_the_same(one, two):
    same = sorted_repr(one) == sorted_repr(two)
    assert (digest(one, "it") == digest(two, "it")) == same


def sorted_repr(value):
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{sorted_repr(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return type(value).__name__ + "(" + ",".join(map(sorted_repr, value)) + ")"
    return repr(value)
