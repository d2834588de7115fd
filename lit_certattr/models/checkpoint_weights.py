"""Find the weights of a network among the tensors of a checkpoint, whatever wraps them."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.checkpoint_file import stands_in
from lit_certattr.models.normalize import Normalize

_WRAPPERS = frozenset({"module", "_orig_mod"})
"""What data parallelism and ``torch.compile`` put between the parts of a name."""
_COUNTER = "num_batches_tracked"
"""Counts training steps for the statistics of batch normalisation; files from before PyTorch 0.4.1 lack it."""
_NOT_WEIGHTS = re.compile(
    r"(^|\.)("
    r"aux\d*|aux_?logits|aux_?head\w*|aux_?classifier\w*|auxiliary\w*"  # classifiers that serve training only
    r"|relative_position_index|relative_coords_table|attn_mask|position_ids"  # computed from the architecture
    r"|n_averaged|total_ops|total_params"  # counts: of an average of weights, of a profiler
    r")(\.|$)",
    re.IGNORECASE,
)
_NORMALISATION = re.compile(r"(^|\.)(pixel_)?(mean|means|std|stds|sds)$")
_OPTIMIZER = re.compile(r"optim(s|izers?|izers?_states?)?(\.|$)", re.IGNORECASE)
"""Holds moments of gradients, some under the names of the weights and in their shapes."""
_DEPTH, _MAPPINGS = 4, 10_000


class WeightSet(NamedTuple):
    """Tensors of a file that belong together.

    Attributes:
        key: The keys that lead to them and the prefix of their names, joined by dots: ``state_dict.net``.
        tensors: The tensors, under the network's names.
        lacks: Names in the network that are not in the file.
        surplus: Names in the file that are not in the network.
        left_out: The same, for tensors that are known to be no weights.
    """

    key: str
    tensors: dict[str, Tensor]
    lacks: list[str]
    surplus: list[str]
    left_out: list[str]


def mappings_of_tensors(content: Mapping[Any, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping from names to tensors in a checkpoint, with the keys that lead to it.

    Args:
        content: The checkpoint.
    """
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    seen: set[int] = set()
    while waiting and len(seen) < _MAPPINGS:
        keys, mapping = waiting.pop(0)
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        tensors = {
            name: value
            for name, value in mapping.items()
            if isinstance(name, str) and isinstance(value, Tensor) and not value.is_nested  # without a shape
        }
        if tensors:
            yield ".".join(keys), tensors
        if len(keys) < _DEPTH:
            waiting += [
                ((*keys, name), value)
                for name, value in mapping.items()
                if isinstance(name, str) and isinstance(value, Mapping)
            ]


def select_weights(
    content: Mapping[Any, Any], network: nn.Module, path: Path, weights_key: str | None
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a network in a checkpoint, and the names of tensors that are left out.

    Args:
        content: The checkpoint.
        network: Gives the names and shapes to look for.
        path: File of the checkpoint, for messages.
        weights_key: Which set of weights to take, if there are several; ``None`` if there is one.

    Returns:
        Tensors under the names of the network, and names in the file that look like weights of it but are left
        out.

    Raises:
        InputError: If no set or several sets of weights fit, or the values cannot be weights.
    """
    own = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    settings = _settings(network)
    sets = [
        one
        for key, tensors in mappings_of_tensors(content)
        for one in _weight_sets(key, tensors, own, settings)
        if (not _OPTIMIZER.match(one.key) if weights_key is None else _is_called(one.key, weights_key))
    ]
    if weights_key is not None:
        sets = [one for one in sets if one.key == weights_key.strip(".")] or sets
    near = [one for one in sets if 2 * sum(_same_shape(one, own)) >= len(own) - len(settings)]
    near = [one for one in near if not any(_is_part(one, other) for other in near)]
    different = [one for index, one in enumerate(near) if not any(_are_equal(one, other) for other in near[:index])]
    who = f"checkpoint {path} does not fit {type(network).__name__}"
    if len(different) > 1:
        keys = ", ".join(repr(one.key) for one in different)
        raise InputError(
            f"checkpoint {path} holds {len(different)} sets of weights for {type(network).__name__}: {keys}; "
            "choose one with weights_key"
        )
    if not different and not sets:
        raise InputError(f"{who}: {_contents(content, own, weights_key)}")
    chosen = different[0] if different else max(sets, key=lambda one: len(one.tensors))
    problems = _problems(chosen, own)
    if problems:
        raise InputError(f"{who}: it {'; it '.join(problems)}{_classes(chosen, own)}")
    for name, value in chosen.tensors.items():
        _check_values(name, value, own[name], path)
    return chosen.tensors, chosen.left_out


def _settings(network: nn.Module) -> frozenset[str]:
    """Names of the constants of normalisation layers: files of other programs do not hold them."""
    return frozenset(
        f"{name}.{buffer}".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(module, Normalize)
        for buffer in ("mean", "std")
    )


def _weight_sets(
    key: str, tensors: dict[str, Tensor], own: Mapping[str, Tensor], settings: Collection[str]
) -> list[WeightSet]:
    """The ways to read the names of a mapping as those of the network, with a prefix on either side."""
    file_names, own_names = _without_wrappers(tensors), _without_wrappers(own)
    weights = [name for name, raw in own_names.items() if raw not in settings]
    sets: list[WeightSet] = []
    for own_prefix in _common_prefixes(weights):
        wanted = {name[len(own_prefix) :]: raw for name, raw in own_names.items() if name.startswith(own_prefix)}
        needed = [name for name, raw in wanted.items() if raw not in settings and not raw.endswith(_COUNTER)]
        counts: dict[str, int] = {}
        for name in file_names:
            for prefix, rest in _cuts(name):
                if rest in wanted:
                    counts[prefix] = counts.get(prefix, 0) + 1
        for prefix in [prefix for prefix, count in counts.items() if 2 * count >= len(needed)]:
            there = {name[len(prefix) :]: raw for name, raw in file_names.items() if name.startswith(prefix)}
            others = [other for other in counts if other != prefix and other.startswith(prefix)]
            surplus = [
                raw
                for name, raw in there.items()
                if name not in wanted
                and not raw.endswith(_COUNTER)
                and not any((prefix + name).startswith(other) and 2 * counts[other] >= len(needed) for other in others)
            ]
            names = {wanted[name]: raw for name, raw in there.items() if name in wanted}
            beside = [raw for raw in tensors if raw not in there.values() and _NORMALISATION.search(raw)]
            known = [raw for raw in surplus if _NOT_WEIGHTS.search(raw)]
            sets.append(
                WeightSet(
                    key=".".join(part for part in (key, prefix.rstrip(".")) if part),
                    tensors={name: tensors[raw] for name, raw in names.items()},
                    lacks=[wanted[name] for name in needed if name not in there],
                    surplus=[raw for raw in surplus if raw not in known],
                    left_out=known + beside,
                )
            )
    return sets


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Short names, without the parts that wrappers add, and their originals; no name is cut if two would be equal."""
    names = list(names)
    short = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in names}
    return short if len(short) == len(names) and "" not in short else {name: name for name in names}


def _common_prefixes(names: list[str]) -> list[str]:
    """The empty prefix, and those that all names share: ``network.``, ``network.0.``."""
    prefixes = [""]
    if names:
        for prefix, _ in list(_cuts(names[0]))[1:]:
            if not all(name.startswith(prefix) for name in names):
                break
            prefixes.append(prefix)
    return prefixes


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """The ways to cut a name after a dot: ``("", "a.b")``, ``("a.", "b")``."""
    parts = name.split(".")
    for index in range(len(parts)):
        prefix = ".".join(parts[:index])
        yield (f"{prefix}." if index else ""), ".".join(parts[index:])


def _is_called(key: str, weights_key: str) -> bool:
    """Whether the user's key names a set: its parts in a row, wrappers left out or not."""
    parts, wanted = key.split("."), weights_key.strip(".").split(".")
    plain = [part for part in wanted if part not in _WRAPPERS]
    return any(
        parts[start : start + len(words)] == words for words in (wanted, plain) if words for start in range(len(parts))
    )


def _same_shape(one: WeightSet, own: Mapping[str, Tensor]) -> Iterator[bool]:
    return (value.shape == own[name].shape for name, value in one.tensors.items())


def _is_part(one: WeightSet, other: WeightSet) -> bool:
    """Whether the other set reads the same tensors in the same way, and more of them."""
    fewer = len(one.tensors) < len(other.tensors)
    return fewer and all(other.tensors.get(name) is value for name, value in one.tensors.items())


def _are_equal(one: WeightSet, other: WeightSet) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        _is_equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )


def _is_equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    return _is_plain(one) and _is_plain(other) and one.dtype == other.dtype and torch.equal(one, other)


def _is_plain(value: Tensor) -> bool:
    return value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _problems(one: WeightSet, own: Mapping[str, Tensor]) -> list[str]:
    """What keeps a set from being loaded."""
    shapes = [
        f"{name} ({tuple(value.shape)} instead of {tuple(own[name].shape)})"
        for name, value in one.tensors.items()
        if value.shape != own[name].shape
    ]
    problems = []
    for kind, names in (("lacks", one.lacks), ("has the unexpected", one.surplus), ("has another shape for", shapes)):
        if names:
            problems.append(f"{kind} {_first(names)}")
    return problems


def _classes(one: WeightSet, own: Mapping[str, Tensor]) -> str:
    """The remedy if nothing but the number of classes differs: the first dimension of the last weight and bias."""
    other = [(value.shape, own[name].shape) for name, value in one.tensors.items() if value.shape != own[name].shape]
    counts = {(given[0], wanted[0]) for given, wanted in other if given and wanted and given[1:] == wanted[1:]}
    if one.lacks or one.surplus or len(counts) != 1 or not all(g[1:] == w[1:] and g and w for g, w in other):
        return ""
    ((given, wanted),) = counts
    return (
        f". If these are the weights of {given} classes, build the network for {given} in place of {wanted}: "
        f"--network.num_classes {given} for lit-certattr certify, --model.net.num_classes {given} for lit-certattr "
        f"train, num_classes={given} in Python"
    )


def _contents(content: Mapping[Any, Any], own: Mapping[str, Tensor], weights_key: str | None) -> str:
    """Describe a file that holds no weights for the network."""
    found = [
        f"{key}{'.' * bool(key)}{name} {tuple(value.shape)}"
        for key, tensors in mappings_of_tensors(content)
        for name, value in tensors.items()
    ]
    needs = _first([f"{name} {tuple(value.shape)}" for name, value in own.items()])
    if found:
        under = "" if weights_key is None else f" under {weights_key!r}"
        return f"none of its names is one of the network's{under}; it holds {_first(found)}; the network has {needs}"
    keys = ", ".join(repr(key) for key in list(content)[:8]) or "nothing"
    arrays = any(
        stands_in(value) for one in (content, *content.values()) if isinstance(one, Mapping) for value in one.values()
    )
    advice = " (NumPy arrays are not read: make tensors of them with torch.from_numpy)" if arrays else ""
    return f"it holds no state dict of tensors, but {keys}{advice}"


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _check_values(name: str, value: Tensor, own: Tensor, path: Path) -> None:
    """Refuse a tensor that has the right shape but cannot be a weight."""
    kind = None
    if value.is_quantized:
        kind = "quantised; save a network in floating point (dequantize())"
    elif value.is_meta:
        kind = "on the meta device, without values; save the network after its weights were loaded"
    elif value.layout != torch.strided:
        kind = "sparse; make it dense with to_dense()"
    elif type(value) not in (Tensor, nn.Parameter):
        kind = f"a {type(value).__name__}; save ordinary tensors"
    elif value.is_complex() and not own.is_complex():
        kind = "complex, but the network's is real"
    elif own.is_floating_point() and not (value.is_floating_point() or value.is_complex()):
        kind = f"of {str(value.dtype).removeprefix('torch.')}, but the network's has floating point"
    elif bool(own.isfinite().all()) and not bool(value.to(own.dtype).isfinite().all()):
        kind = "not finite (NaN or infinity); the training that wrote it had diverged: take an earlier checkpoint"
    if kind is not None:
        raise InputError(f"checkpoint {path} cannot be loaded: {name} is {kind}")
