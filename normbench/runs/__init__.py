"""Many runs: the file of finished runs, who trains what is missing, and the runs as arms, tables and words."""

from normbench.runs.arm import Arm, Arms, arms, frame
from normbench.runs.cluster import on_ray
from normbench.runs.conditions import conditions, details, lengths
from normbench.runs.engines import Engine, local, opened, usual_workers
from normbench.runs.file import append, read
from normbench.runs.measure import ACCURACY, Measure, measure_of
from normbench.runs.schedule import run_all, stored

__all__ = [
    "ACCURACY",
    "Arm",
    "Arms",
    "Engine",
    "Measure",
    "append",
    "arms",
    "conditions",
    "details",
    "frame",
    "lengths",
    "local",
    "measure_of",
    "on_ray",
    "opened",
    "read",
    "run_all",
    "stored",
    "usual_workers",
]
