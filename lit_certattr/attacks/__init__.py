"""Attacks: the search for the worst perturbation, of predictions, of explanations and of smoothed explanations."""

from lit_certattr.attacks.ball import distance, project
from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import attack

__all__ = ["AttackConfig", "attack", "distance", "project"]
