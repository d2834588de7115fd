"""A configuration names a network, a record holds its hashes: that is no difference."""

from lit_certattr.audit.consistency import _arguments, _same
from lit_certattr.regions.segmenter import is_identity

KNOWN = f"SmallCNN; structure {'0' * 64}; weights {'a' * 64}"


def test_hashes_of_a_network_agree_with_any_way_to_name_it():
    said = {"class_path": "lit_certattr.regions.Segmenter", "init_args": {"network": {"class_path": "mine.Net"}}}
    assert is_identity(KNOWN)
    pairs = list(_arguments("regions", said, f"Segmenter(network={KNOWN!r})"))
    assert all(_same(known, value) for _, value, known in pairs)
    assert len(pairs) == 2
    assert _same({"class_path": "x.Segmenter", "init_args": {"network": KNOWN}}, said)


def test_other_settings_are_still_compared():
    assert not _same("runs/a.ckpt", "runs/b.ckpt")
    assert not is_identity(KNOWN[:-1])
