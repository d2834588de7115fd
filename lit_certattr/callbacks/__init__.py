"""Callbacks for the Lightning Trainer."""

from lit_certattr.callbacks.certification import CertificationCallback
from lit_certattr.callbacks.frozen_layers import FrozenLayers
from lit_certattr.callbacks.last_checkpoint import LastCheckpoint
from lit_certattr.callbacks.map_quality import MapQualityCallback
from lit_certattr.callbacks.metric_gate import MetricGate
from lit_certattr.callbacks.overlap import OverlapCallback
from lit_certattr.callbacks.progress import CertificationProgress
from lit_certattr.callbacks.result_writer import ResultWriter
from lit_certattr.callbacks.wandb_run import WandbRun

__all__ = [
    "CertificationCallback",
    "CertificationProgress",
    "FrozenLayers",
    "LastCheckpoint",
    "MapQualityCallback",
    "MetricGate",
    "OverlapCallback",
    "ResultWriter",
    "WandbRun",
]
