"""Several finished runs side by side: what differs between them, their numbers, and the differences of these."""

from lit_certattr.comparison.comparison import Comparison, Difference, Mean
from lit_certattr.comparison.likeness import UnlikeRuns
from lit_certattr.comparison.measures import Measure
from lit_certattr.comparison.reading import RunNumbers, read_run

__all__ = ["Comparison", "Difference", "Mean", "Measure", "RunNumbers", "UnlikeRuns", "read_run"]
