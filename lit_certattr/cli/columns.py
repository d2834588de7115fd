"""Which columns of a table stand beside each other in a terminal that is too narrow for all of them, and how wide."""

from collections.abc import Sequence

_RULES = 3
"""A rule and a blank on either side of each column."""


def least_width(head: str, cells: Sequence[str], is_text: bool) -> int:
    """Width of a column in which no word is broken, and no line of a number.

    Args:
        head: Its head.
        cells: Its cells; a cell may have several lines.
        is_text: Whether lines may be broken between words.
    """
    lines = [line for cell in cells for line in cell.split("\n")]
    pieces = [*head.split(" "), *([word for line in lines for word in line.split()] if is_text else lines)]
    return max(map(len, pieces), default=0)


def side_by_side(least: Sequence[int], room: int) -> list[list[int]]:
    """Groups of columns that fit beside the first one, in order.

    Args:
        least: Least width of each column; the first one stands in every group.
        room: Width of the terminal.

    Returns:
        The places of the columns of each group. A column that is too wide stands alone.

    Example:
        >>> side_by_side([4, 10, 10, 30, 10], 36)
        [[0, 1, 2], [0, 3], [0, 4]]
    """
    groups: list[list[int]] = []
    free = 0
    for place in range(1, len(least)):
        needed = least[place] + _RULES
        if not groups or needed > free:
            groups.append([0])
            free = room - 1 - least[0] - _RULES
        groups[-1].append(place)
        free -= needed
    return groups or [[0]]


def widened(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns that stand side by side: what is left of the room goes to the narrowest that want more.

    Args:
        least: Least width of each column.
        wanted: Width in which each column needs no further line.
        room: Width of the terminal.

    Example:
        >>> widened([4, 6, 5], [4, 20, 9], 40)
        [4, 17, 9]
    """
    widths = list(least)
    for _ in range(room - 1 - sum(width + _RULES for width in least)):
        growing = [place for place, width in enumerate(widths) if width < wanted[place]]
        if not growing:
            break
        widths[min(growing, key=widths.__getitem__)] += 1
    return widths
