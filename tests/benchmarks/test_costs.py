"""The table of costs in the documentation is what was measured."""

import json

from benchmarks import costs


def test_the_page_holds_the_table_of_what_was_measured():
    measured = json.loads(costs.MEASURED.read_text())
    assert costs.BEGIN + costs.table(measured) + costs.END in costs.PAGE.read_text()


def test_another_device_gets_a_column():
    one = {"CPU": {"net | A": [10.0, 1.0, 1.0]}}
    two = one | {"GPU": {"net | A": [1000.0, 1.0, 1.0], "net | B": [5.0, 2.0, 0.0]}}
    assert costs.table(two).splitlines() == [
        "| network | method | forward | backward | samples per second, CPU | samples per second, GPU | "
        "1,000 images of 1,000 samples |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| net | A | 1 | 1 | 10 | 1000 | 27.8 h, 0.278 h |",
        "| net | B | 2 | 0 | - | 5 | -, 55.6 h |",
    ]
