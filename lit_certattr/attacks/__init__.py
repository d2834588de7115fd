"""Attacks: the search for the worst perturbation, of predictions, of explanations and of smoothed explanations."""

from lit_certattr.attacks.ball import distance, project
from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import attack
from lit_certattr.attacks.smoothed import NoisyMaps, SmoothedObjective, attack_smoothed
from lit_certattr.attacks.smoothed_objectives import PixelVotes, SmoothedCosine, TopKOverlap

__all__ = [
    "AttackConfig",
    "NoisyMaps",
    "PixelVotes",
    "SmoothedCosine",
    "SmoothedObjective",
    "TopKOverlap",
    "attack",
    "attack_smoothed",
    "distance",
    "project",
]
