import pytest
import yaml

from lit_certattr.cli.strict_yaml import check_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sigma: 1\nsigma: 2", "the key 'sigma' is there twice"),
        ("a: {b: {sigma: 1, c: 2, sigma: 1}}", "the key 'sigma' is there twice"),
        ("- {x: 1}\n- {x: 1, 'x': 2}", "the key 'x' is there twice"),
        (BOMB, "more than 200,000 values"),
        ("a: &a [*a]", "an alias contains itself"),
        ("a: &a {b: {c: *a}}", "an alias contains itself"),
        (f"seed: {'9' * 5000}", "a number of 5000 digits"),
        (f"seed: -{'9' * 5000}", "a number of 5001 digits"),
        ("[" * 5000 + "]" * 5000, "nesting depth|too deep"),
        ("a: 1\n\tb: 2", "a tab; write spaces in its place"),
        ("a:\n\tb: 2", "a tab; write spaces in its place"),
        ("a: @b", "cannot start any token"),
        ("a: *nowhere", "undefined alias"),
        ("a: \x01", "control characters"),
    ],
)
def test_what_would_lose_something_or_never_end_is_refused(text, said):
    with pytest.raises(yaml.YAMLError, match=said):
        check_yaml(text)


@pytest.mark.parametrize(
    "text",
    ["", "# nothing", "5", "a: &a [1, 2]\nb: *a\nc: *a", "[{x: 1}, {x: 1}]", "a: {x: 1}\nb: {x: 1}", "1: a\n'1': b"],
)
def test_what_means_what_it_says_passes(text):
    check_yaml(text)


def test_many_ids_pass():
    check_yaml("ids: [" + ", ".join(f"image-{number}" for number in range(50_000)) + "]")
