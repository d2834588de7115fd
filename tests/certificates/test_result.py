"""Files of results: lossless, the same bytes for the same result, and harmless when they are not ours."""

import contextlib
import gc
import json
import math
import pickle

import attrs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from lit_certattr.certificates import (
    PixelCertificate,
    PixelResult,
    Result,
    TopKOverlapCertificate,
    TopKOverlapResult,
    UnknownResult,
    load_results,
    save_results,
)
from lit_certattr.certificates.radii import round_down
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise

SAMPLING = {"seed": 0, "image_id": "Katze/ü", "target": 3, "precision": "float32", "sigma": 0.1}


def results():
    generator = torch.Generator().manual_seed(0)
    maps = torch.linspace(-1, 1, 30).view(5, 6) + 0.3 * torch.randn(300, 5, 6, generator=generator)
    found = {}
    for certificate in (PixelCertificate(top_k=[0.5, 3]), TopKOverlapCertificate(top_k=20)):
        accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
        accumulator.update(maps)
        found[certificate.name] = attrs.evolve(accumulator.compute(), sampling=SAMPLING)
    return found


def assert_equal_results(first, second):
    assert type(first) is type(second)
    for field in attrs.fields(type(first)):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype
            assert torch.equal(one, other), field.name
        else:
            assert one == other, field.name
            assert type(one) is type(other), field.name


@pytest.mark.parametrize("name", ["pixel", "topk_overlap"])
def test_a_result_comes_back_bit_by_bit(name, tmp_path):
    result = results()[name]
    result.save(tmp_path / "one.safetensors")
    assert_equal_results(type(result).load(tmp_path / "one.safetensors"), result)
    assert_equal_results(pickle.loads(pickle.dumps(result)), result)


def test_infinite_radii_survive(tmp_path):
    result = results()["topk_overlap"]  # 2K > N
    assert result.displacement.isinf().any()
    result.save(tmp_path / "one")
    assert torch.equal(TopKOverlapResult.load(tmp_path / "one").displacement, result.displacement)


def test_several_results_share_a_file(tmp_path):
    saved = {"coarse": results()["pixel"], "fine": results()["pixel"], "overlap": results()["topk_overlap"]}
    save_results(tmp_path / "all", saved)
    loaded = load_results(tmp_path / "all")
    assert loaded.keys() == saved.keys()
    for name, result in saved.items():
        assert_equal_results(loaded[name], result)


def test_names_that_begin_alike_are_told_apart(tmp_path):
    saved = {"a": results()["pixel"], "a_b": results()["topk_overlap"]}
    save_results(tmp_path / "all", saved)
    assert isinstance(load_results(tmp_path / "all")["a"], PixelResult)


def test_equal_results_give_equal_bytes(tmp_path):
    for name in ("first", "second"):
        save_results(tmp_path / name, results())
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "one"
    target.write_bytes(b"the earlier file")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_results(target, results())
    assert target.read_bytes() == b"the earlier file"


def test_results_are_frozen():
    for result in results().values():
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            result.alpha = 0.5


# Files that are not ours ----------------------------------------------------------------------------------------------


def refused(path, match="not a file of certified results, or damaged"):
    with pytest.raises(InputError, match=match) as caught:
        load_results(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.fixture
def file(tmp_path):
    save_results(tmp_path / "results.safetensors", results())
    return tmp_path / "results.safetensors"


def rewritten(file, change):
    """The file with another header or other tensors: ``change`` edits both in place and may return a raw header."""
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["lit_certattr"])
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    raw = change(header, tensors)
    save_file(tensors, file, {"lit_certattr": json.dumps(header) if raw is None else raw})
    return file


def test_an_unchanged_rewrite_is_accepted(file):
    """The control of the tests below."""
    assert_equal_results(load_results(rewritten(file, lambda header, tensors: None))["pixel"], results()["pixel"])


def test_missing_files_and_folders_are_named(tmp_path):
    refused(tmp_path / "nothing", "no such file")
    refused(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.99])
def test_truncated_files_are_refused(file, keep):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(file)


@pytest.mark.parametrize("content", [b"not safetensors at all", b"\xff" * 64, b"\0" * 64, pickle.dumps([1, 2])])
def test_other_files_are_refused(file, content):
    file.write_bytes(content)
    refused(file)


def test_other_safetensors_are_refused(file):
    save_file({"weight": torch.zeros(3)}, file)
    refused(file)


def test_another_kind_of_result_is_refused(tmp_path):
    results()["pixel"].save(tmp_path / "one")
    with pytest.raises(InputError, match="holds no TopKOverlapResult"):
        TopKOverlapResult.load(tmp_path / "one")
    with pytest.raises(InputError, match="holds no Result"):
        Result.load(tmp_path / "one")


FIELD = {
    "labels_as_text": lambda f, t: (f.update(labels="1"), t.pop("pixel/labels")),
    "labels_missing": lambda f, t: t.pop("pixel/labels"),
    "labels_of_another_type": lambda f, t: t.update({"pixel/labels": t["pixel/labels"].float()}),
    "labels_of_another_shape": lambda f, t: t.update({"pixel/labels": t["pixel/labels"][:, :3].contiguous()}),
    "labels_flat": lambda f, t: t.update(
        {f"pixel/{k}": t[f"pixel/{k}"].flatten() for k in ("labels", "radius", "votes")}
    ),
    "levels_lost": lambda f, t: f.update(top_k=[0.5]),
    "sizes_as_text": lambda f, t: f.update(sizes=["15", "3"]),
    "sizes_not_a_list": lambda f, t: f.update(sizes=15),
    "threshold_as_text": lambda f, t: f.update(threshold="96"),
    "threshold_true": lambda f, t: f.update(threshold=True),
    "alpha_missing": lambda f, t: f.pop("alpha"),
    "alpha_a_list": lambda f, t: f.update(alpha=[0.001]),
    "sampling_a_list": lambda f, t: f.update(sampling=[1]),
    "flags_numbers": lambda f, t: f.update(flags=[1]),
    "unknown_field": lambda f, t: f.update(surprise=1),
    "unknown_tensor": lambda f, t: t.update({"pixel/surprise": torch.zeros(1)}),
}


@pytest.mark.parametrize("change", FIELD.values(), ids=FIELD.keys())
def test_fields_that_do_not_fit_are_refused(file, change):
    def edit(header, tensors):
        change(header["pixel"]["fields"], tensors)

    refused(rewritten(file, edit))


OVERLAP = {
    "displacement_short": lambda t: t.update({"topk_overlap/displacement": torch.zeros(3)}),
    "inside_of_another_shape": lambda t: t.update({"topk_overlap/inside": torch.zeros(2, 2, dtype=torch.bool)}),
    "votes_of_another_type": lambda t: t.update({"topk_overlap/votes": torch.zeros(5, 6)}),
}


@pytest.mark.parametrize("change", OVERLAP.values(), ids=OVERLAP.keys())
def test_tensors_that_do_not_fit_are_refused(file, change):
    refused(rewritten(file, lambda header, tensors: change(tensors)))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "null",
        "[]",
        "[1, 2]",
        '"text"',
        "{",
        '{"pixel": 1}',
        '{"pixel": {}}',
        '{"pixel": {"type": "PixelResult"}}',
        '{"pixel": {"type": ["PixelResult"], "fields": {}}}',
        '{"pixel": {"type": "Popen", "fields": {"args": "true"}}}',
        '{"pixel": {"type": "Result", "fields": {}}}',
        '{"pixel": {"type": "PixelResult", "fields": []}}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
    ids=lambda raw: raw[:30] or "empty",
)
def test_headers_that_make_no_sense_are_refused(file, raw):
    refused(rewritten(file, lambda header, tensors: raw))


@given(st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_refused_or_read(tmp_path, position, byte):
    path = tmp_path / "fuzzed"
    save_results(path, results_once())
    data = bytearray(path.read_bytes())
    data[position] = byte
    path.write_bytes(data)
    with contextlib.suppress(InputError):  # nothing else may be raised
        assert all(isinstance(result, Result) for result in load_results(path).values())


_ONCE = {}


def results_once():
    return _ONCE or _ONCE.update(results()) or _ONCE


# Rounding -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e30, 1e30), min_size=1))
def test_rounding_down_never_rounds_up(values):
    exact = torch.tensor(values, dtype=torch.float64)
    stored = round_down(values)
    assert stored.dtype == torch.float32
    assert (stored.double() <= exact).all()
    above = torch.nextafter(stored, torch.full_like(stored, math.inf))
    assert (above.double() > exact).all()


def test_rounding_down_keeps_infinities():
    assert round_down([math.inf, -math.inf, 0.0]).tolist() == [math.inf, -math.inf, 0.0]


# --- kinds that nobody has imported -------------------------------------------------------------------------------


def foreign_file(path, name="SignResult"):
    """A file with two results; the class of one of them is known nowhere in this process."""
    save_results(path, results())
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lit_certattr"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["pixel"]["type"] = name
    save_file(tensors, path, {"lit_certattr": json.dumps(header, sort_keys=True)})
    return path


def test_a_kind_that_nobody_has_imported_is_kept_and_the_others_are_read(tmp_path):
    path = foreign_file(tmp_path / "file")
    loaded = load_results(path)
    assert_equal_results(loaded["topk_overlap"], results()["topk_overlap"])
    unknown = loaded["pixel"]
    assert isinstance(unknown, UnknownResult)
    assert (unknown.type_name, unknown.num_samples, unknown.sampling) == ("SignResult", 300, SAMPLING)
    assert torch.equal(unknown.tensors["votes"], results()["pixel"].votes)
    assert "nothing is claimed" in unknown.statement()
    save_results(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == path.read_bytes(), "nothing is lost"


def test_the_placeholder_itself_and_unfinished_classes_are_no_kinds(tmp_path):
    for name in ("UnknownResult", "OverlapResult", "Result"):
        assert isinstance(load_results(foreign_file(tmp_path / name, name))["pixel"], UnknownResult)


def test_a_class_of_the_user_never_stands_for_one_of_this_package(tmp_path):
    save_results(tmp_path / "file", results())

    class PixelResult(Result):
        def statement(self, radius=None):
            return "anything"

    assert type(load_results(tmp_path / "file")["pixel"]).__module__.startswith("lit_certattr.")
    assert PixelResult.__module__ != "lit_certattr"


def test_two_classes_of_one_name_are_refused_by_name(tmp_path):
    path = foreign_file(tmp_path / "file")
    made = [
        type("SignResult", (Result,), {"statement": lambda self, radius=None: "", "__module__": place})
        for place in "ab"
    ]
    with pytest.raises(InputError, match=r"several classes are called SignResult \(a.SignResult, b.SignResult\)"):
        load_results(path)
    del made
    gc.collect()  # other tests read files of this kind
