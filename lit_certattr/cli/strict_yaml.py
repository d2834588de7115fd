"""Strict YAML: refuses duplicate keys and unbounded nesting."""

from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lit_certattr.settings.moved import current_paths

_MOST_VALUES = 200_000
_MOST_DIGITS = 400
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_load = get_loader("yaml")


class StrictError(yaml.MarkedYAMLError):
    """YAML that is valid but ambiguous or unbounded."""


def check_yaml(text: str) -> None:
    """Refuse YAML whose reading would lose values or never end.

    Args:
        text: One document.

    Raises:
        yaml.YAMLError: If the text is not YAML; if a mapping has a key twice, whose first value would be lost; if
            aliases multiply to more than 200,000 values, or contain themselves; if a number has hundreds of digits.

    Example:
        >>> check_yaml("sigma: 0.25")
        >>> check_yaml("{sigma: 0.25, sigma: 0.5}")
        Traceback (most recent call last):
        ...
        lit_certattr.cli.strict_yaml.StrictError: the key 'sigma' is there twice
          in "<unicode string>", line 1, column 15
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is not None and _size(root, {}) > _MOST_VALUES:
            raise StrictError(problem=f"more than {_MOST_VALUES:,} values", problem_mark=root.start_mark)
    except yaml.scanner.ScannerError as error:
        mark = error.problem_mark
        if mark is None or text[mark.index : mark.index + 1] != "\t":
            raise
        raise StrictError(problem="a tab; write spaces in its place", problem_mark=mark) from None
    except RecursionError:
        raise StrictError(problem="values lie too deep inside each other") from None


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values below a node, aliases counted each time; 0 in ``known`` while it is being counted."""
    if id(node) in known:
        if not known[id(node)]:
            raise StrictError(problem="an alias contains itself", problem_mark=node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    below: list[yaml.Node] = []
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":int") and len(node.value) > _MOST_DIGITS:
        raise StrictError(problem=f"a number of {len(node.value)} digits", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in keys:
                raise StrictError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            keys.add(name)
            below.append(value)
    known[id(node)] = 1 + sum(_size(one, known) for one in below)
    return known[id(node)]


def _load_strictly(stream: str) -> Any:
    check_yaml(stream)
    return current_paths(_load(stream))


set_loader("yaml", _load_strictly, exceptions=(yaml.YAMLError,))
