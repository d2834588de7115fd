"""The present paths of classes that configurations of earlier versions name by an older path."""

from typing import Any

_MOVED = {
    "lit_certattr.certifier.": "lit_certattr.certification.",
    "lit_certattr.protocol.": "lit_certattr.robustness.",
    "lit_certattr.sandwich.": "lit_certattr.robustness.",
    "lit_certattr.stopping.": "lit_certattr.certification.",
}


def current_path(path: str) -> str:
    """The present dotted path of a class; a path that never changed is returned unchanged.

    Args:
        path: A dotted path, e.g. of a ``class_path`` in a run directory of an earlier version.

    Example:
        >>> current_path("lit_certattr.stopping.Futility")
        'lit_certattr.certification.Futility'
    """
    for old, new in _MOVED.items():
        if path.startswith(old):
            return new + path.removeprefix(old)
    return path


def current_paths(value: Any) -> Any:
    """Plain values, with every ``class_path`` among them replaced by its present path.

    Args:
        value: Mappings, lists and plain values, as YAML gives them.

    Example:
        >>> current_paths([{"class_path": "lit_certattr.stopping.Futility", "init_args": {"gain": 0.1}}])
        [{'class_path': 'lit_certattr.certification.Futility', 'init_args': {'gain': 0.1}}]
    """
    if isinstance(value, dict):
        return {
            key: current_path(item) if key == "class_path" and isinstance(item, str) else current_paths(item)
            for key, item in value.items()
        }
    return [current_paths(item) for item in value] if isinstance(value, list) else value
