"""The processes of one command: what they tell each other, who takes the next image, and what if one of them dies."""

from lit_certattr.processes.companions import end_with
from lit_certattr.processes.image_queue import ImageQueue
from lit_certattr.processes.loss import lost_process
from lit_certattr.processes.team import Team

__all__ = ["ImageQueue", "Team", "end_with", "lost_process"]
