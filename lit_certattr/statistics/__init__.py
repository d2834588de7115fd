"""Confidence bounds, tests and multiple testing: pure float64 functions of counts and means."""

from lit_certattr.statistics.betting import betting_lower
from lit_certattr.statistics.binomial import (
    binomial_tail,
    clopper_pearson_interval,
    clopper_pearson_lower,
    clopper_pearson_upper,
    smallest_sample_size,
    smallest_significant_count,
    two_label_test,
)
from lit_certattr.statistics.bounded import (
    chernoff_lower,
    empirical_bernstein_lower,
    hoeffding_bentkus_lower,
    hoeffding_margin,
    vector_margin,
)
from lit_certattr.statistics.gaussian import shift
from lit_certattr.statistics.joint import false_certificates
from lit_certattr.statistics.moments import bennett_margin, raw_moment_margin, second_moment_upper
from lit_certattr.statistics.multiple import holm_threshold, step_down_bounds, two_label_holm
from lit_certattr.statistics.quantiles import (
    quantile_lower_rank,
    quantile_upper_rank,
)
from lit_certattr.statistics.resampling import bootstrap_intervals, sign_test
from lit_certattr.statistics.sequences import doubling_looks, kt_interval, kt_lower, look_share, union_lower
from lit_certattr.statistics.shares import exact_share

__all__ = [
    "bennett_margin",
    "betting_lower",
    "binomial_tail",
    "bootstrap_intervals",
    "chernoff_lower",
    "clopper_pearson_interval",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "doubling_looks",
    "empirical_bernstein_lower",
    "exact_share",
    "false_certificates",
    "hoeffding_bentkus_lower",
    "hoeffding_margin",
    "holm_threshold",
    "kt_interval",
    "kt_lower",
    "look_share",
    "quantile_lower_rank",
    "quantile_upper_rank",
    "raw_moment_margin",
    "second_moment_upper",
    "shift",
    "sign_test",
    "smallest_sample_size",
    "smallest_significant_count",
    "step_down_bounds",
    "two_label_holm",
    "two_label_test",
    "union_lower",
    "vector_margin",
]
