"""Many trainings: the file of finished runs, who trains what is missing, and the runs as arms, tables and words."""

from normbench.runs.arm import Arm, Arms, arms, frame
from normbench.runs.cluster import on_ray
from normbench.runs.conditions import conditions, details, lengths
from normbench.runs.engines import Engine, local, usual_workers
from normbench.runs.file import append, read
from normbench.runs.schedule import run_all, stored

__all__ = [
    "Arm",
    "Arms",
    "Engine",
    "append",
    "arms",
    "conditions",
    "details",
    "frame",
    "lengths",
    "local",
    "on_ray",
    "read",
    "run_all",
    "stored",
    "usual_workers",
]
