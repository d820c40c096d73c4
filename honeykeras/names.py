"""The names that options take, and that files and reports write, and defaults that commands and Python share.

Nothing here needs TensorFlow, so that the command line can check them at once.
"""

from __future__ import annotations

FAMILIES = ("blocks", "scattered")
"""Families of patterns."""

RECIPES = ("balanced", "hardened", "paper")
"""How to plant."""

ATTACKS = (
    "pgd", "cw", "ddn", "sdf", "fmn_l2", "fmn_linf", "fmn_l0", "jsma",
    "nes", "square", "boundary", "hop_skip_jump",
    "noise", "stripes", "blocks",
)  # fmt: skip
"""Attacks: eight by gradients, four by queries, three that look at nothing."""

NORMS = ("inf", "2")
"""What the ball of projected gradient descent is measured in."""

SEARCHES = ("pairs", "top2")
"""How the saliency map attack chooses features."""

SHARD_FORMATS = ("npz", "tfrecord")
"""What files of adversarial images are."""

BASELINES = ("plain", "adversarial")
"""What a honeypot is trained beside."""

STRATEGIES = ("mirrored",)
"""How a training is spread over devices."""

DETECTORS = ("key", "logistic", "full", "paper", "trapdoor")
"""Kinds of detectors."""

POLICIES = ("mislead", "observe", "decoy", "uniform", "reject")
"""What clients are told of an input that is flagged; the first is the default, and the last two can be seen by all."""

MAX_FPR = 0.01
"""The false positive rate that thresholds are calibrated to unless another is asked for."""

ALPHA = 1e-3
"""How probable it may be that a client is accused whose queries do not depend on the key, however many it sends."""
