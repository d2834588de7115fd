"""Attacks: the search for the worst perturbation, of predictions, of explanations and of smoothed explanations."""

from lit_certattr.attacks.ball import distance, project
from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.explanation import ExplanationObjective, attack_explanation
from lit_certattr.attacks.explanation_objectives import MassCentre, TargetMap, TargetRegion, TopKMass
from lit_certattr.attacks.loop import attack
from lit_certattr.attacks.misclassification import margin
from lit_certattr.attacks.noisy_prediction import attack_noisy_prediction
from lit_certattr.attacks.noisy_votes import NoisyVotes
from lit_certattr.attacks.prediction import attack_prediction
from lit_certattr.attacks.smoothed import NoisyMaps, SmoothedObjective, attack_smoothed
from lit_certattr.attacks.smoothed_objectives import PixelVotes, SmoothedCosine, TopKOverlap

__all__ = [
    "AttackConfig",
    "ExplanationObjective",
    "MassCentre",
    "NoisyMaps",
    "NoisyVotes",
    "PixelVotes",
    "SmoothedCosine",
    "SmoothedObjective",
    "TargetMap",
    "TargetRegion",
    "TopKMass",
    "TopKOverlap",
    "attack",
    "attack_explanation",
    "attack_noisy_prediction",
    "attack_prediction",
    "attack_smoothed",
    "distance",
    "margin",
    "project",
]
