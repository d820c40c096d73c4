"""Sweeps: what honeypots cost and what attacks draw of them, as one thing is varied at a time.

After Abdou et al. 2021, HoneyModels, Fig. 4. `points` makes the honeypots to try, and `run` trains and attacks them.
"""

from honeykeras.sweep.grid import SweepPoint, SweepResult, points
from honeykeras.sweep.runner import run

__all__ = ["SweepPoint", "SweepResult", "points", "run"]
