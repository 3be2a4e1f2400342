"""The study: experiments and their claims, the notebook, Colab, the report. It stands on `normbench` and `model`.

`python -m study` is its command line. What it imports, it imports by room (`from study import experiments`): each of
them takes its time, and some need packages that Colab lacks.
"""

from pathlib import Path

__all__ = ["CHECKOUT"]

CHECKOUT = Path(__file__).parent.parent
