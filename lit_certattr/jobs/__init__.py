"""The jobs of ``certify.py`` for Python, and ``reopen``, which opens a finished run.

Each job has typed arguments, returns its results, and prints only its progress on stderr (``progress=False`` turns this
off). It raises :class:`~lit_certattr.errors.InputError` if an argument, a file or an image cannot be used.
"""

from lit_certattr.jobs.attacking import AttackReport, attack
from lit_certattr.jobs.auditing import AuditReport, audit
from lit_certattr.jobs.comparing import compare
from lit_certattr.jobs.covering import Covered, covers
from lit_certattr.jobs.evaluating import Evaluation, evaluate
from lit_certattr.jobs.exporting import export
from lit_certattr.jobs.merging import merge
from lit_certattr.jobs.modes import FittedModes, fit_modes
from lit_certattr.jobs.noise_levels import NoiseLevels, try_sigmas
from lit_certattr.jobs.planning import Plan, plan
from lit_certattr.jobs.recertifying import recertify
from lit_certattr.jobs.reopening import Reopened, reopen
from lit_certattr.jobs.running import run
from lit_certattr.jobs.sampling_again import SampledAgain
from lit_certattr.jobs.status import Status, status
from lit_certattr.jobs.trainer import TrainerOptions

__all__ = [
    "AttackReport",
    "AuditReport",
    "Covered",
    "Evaluation",
    "FittedModes",
    "NoiseLevels",
    "Plan",
    "Reopened",
    "SampledAgain",
    "Status",
    "TrainerOptions",
    "attack",
    "audit",
    "compare",
    "covers",
    "evaluate",
    "export",
    "fit_modes",
    "merge",
    "plan",
    "recertify",
    "reopen",
    "run",
    "status",
    "try_sigmas",
]
