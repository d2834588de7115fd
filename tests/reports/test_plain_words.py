"""What the page says without mathematics fits what was certified."""

import pytest

from lit_certattr.reports.answers import answer, how_many_right
from lit_certattr.reports.plain_words import glossary, limits


@pytest.fixture(scope="module")
def results(certified):
    return certified()[0][2]


def test_limits_and_words_follow_the_certificates(results):
    labelled, overlap = {"pixel": results["pixel"]}, {"overlap": results["topk_overlap"]}
    assert "Not that the rest is unstable." in dict(limits(labelled, 2))
    assert "Not that the rest is unstable." not in dict(limits(overlap, 2))
    assert "these 2 images" in dict(limits(overlap, 2))["Not for other images."]
    assert "this image" in dict(limits(overlap, 1))["Not for other images."]
    words = dict(glossary(labelled, regions=True, noisy_accuracy=False))
    assert {"abstain", "region", "top K"} <= words.keys()
    assert "noisy accuracy" not in words
    assert "abstain" not in dict(glossary(overlap, regions=False, noisy_accuracy=True))
    assert all("the region" in words[term] for term in ("certified important",))


@pytest.mark.parametrize("name", ["pixel", "topk_overlap"])
def test_plain_words_are_short_and_without_symbols(results, name):
    from lit_certattr.certificates import present

    plain = present(results[name]).plain()
    assert len(plain) < 320
    assert not set("=α^<>") & set(plain)


def test_answers_name_classes_and_judge_the_prediction_not_the_explained_class():
    facts = {"label": 3, "label_name": "cat", "prediction": 5, "prediction_name": "dog"}
    wrong = answer(facts, 3)
    assert (wrong.explained, wrong.predicted, wrong.label, wrong.verdict) == ("cat (3)", "dog (5)", "cat (3)", "wrong")
    assert wrong.in_words() == [
        "explained class: cat (3)",
        "prediction: dog (5)",
        "label: cat (3)",
        "the network is wrong",
    ]
    unknown = answer({"label": -1, "prediction": 5}, 5)
    assert unknown.in_words() == ["explained class: 5", "label: unknown"]
    right = answer({"label": 5, "prediction": 5}, 5)
    assert how_many_right([wrong, unknown, right]) == (1, 2)
    assert answer({}, 7).right is None
