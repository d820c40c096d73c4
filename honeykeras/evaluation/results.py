"""What an evaluation finds, with sample sizes, intervals and controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from honeykeras.evaluation.statistics import Estimate, Proportion, balanced_accuracy, prediction_interval
from honeykeras.evaluation.two_samples import Discrepancies, TwoSampleTest


@dataclasses.dataclass(frozen=True)
class Viability:
    """What the honeypot costs: accuracy on clean test images, with it and without.

    Attributes:
        clean_accuracy: Of the model with the honeypot.
        baseline_clean_accuracy: Of the model trained as long without one.
    """

    clean_accuracy: Proportion
    baseline_clean_accuracy: Proportion


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """How much of the watermark an attack draws: mean cosine of watermark and perturbation.

    Attributes:
        cosine_similarity: On the model with the honeypot, with its key.
        wrong_key: Control: the same perturbations against keys that were not planted.
        no_honeypot: Control: perturbations made on the model without a honeypot, against the key.
        n: How many successful adversarial images `cosine_similarity` and `wrong_key` are means over.
    """

    cosine_similarity: Estimate
    wrong_key: Estimate
    no_honeypot: Estimate
    n: int


@dataclasses.dataclass(frozen=True)
class AttackDetection:
    """One attack under one detector.

    Attributes:
        true_positives: Flagged, of the successful adversarial images.
        attack_success: Successful, of the attacked images.
    """

    true_positives: Proportion
    attack_success: Proportion

    @property
    def undetected(self) -> Proportion:
        """Successful and not flagged, of the attacked images: how often the attacker gets what it wants."""
        return Proportion(self.true_positives.n - self.true_positives.count, self.attack_success.n)


@dataclasses.dataclass(frozen=True)
class Roc:
    """What a detector would do with other thresholds.

    Attributes:
        auc: Area under the curve, in [0, 1].
        true_positive_rates: At each of `roc.FALSE_POSITIVE_RATES` of the clean test images.
        at: Flagged, of the successful adversarial images, at each of `roc.OPERATING_POINTS`.
    """

    auc: float
    true_positive_rates: tuple[float, ...]
    at: Mapping[float, Proportion]


@dataclasses.dataclass(frozen=True)
class DetectionRates:
    """All attacks under one detector.

    Attributes:
        false_positives: Flagged, of the clean test images.
        true_positives: Flagged, of the successful adversarial images of all attacks together. Attacks start from the
            same images, so that the sample size is an effective one; see `statistics.pooled`.
        attacks: By attack.
        roc: By attack, and `"overall"`.
    """

    false_positives: Proportion
    true_positives: Proportion
    attacks: Mapping[str, AttackDetection]
    roc: Mapping[str, Roc]

    @property
    def balanced_accuracy(self) -> Estimate:
        """Mean of true positive and true negative rate."""
        return balanced_accuracy(self.true_positives, self.false_positives)


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One benign corruption of clean images under a detector.

    Attributes:
        flagged: Flagged, of the corrupted images.
        accuracy: Classified right, of the same.
    """

    flagged: Proportion
    accuracy: Proportion


@dataclasses.dataclass(frozen=True)
class Detection:
    """How well a detector does, and how well it does without what it claims to rest on.

    Attributes:
        detector: The kind of detector, by name.
        detector_id: The id of the one that was judged (`CalibratedDetector.detector_id`); None if there is none, as it
            had to learn from attacks and none succeeded.
        key_specific: Whether that kind claims to find the key, rather than whatever helps.
        max_fpr: The false positive rate that thresholds were calibrated to.
        rates: With the key, on the model with the honeypot.
        wrong_key: Control: the same, for detectors built on keys that were not planted, on average.
        wrong_keys: The same, key by key.
        no_honeypot: Control: the same, with the key, on the model without a honeypot.
        transfer: Control: adversarial images made on the model without a honeypot and sent to the model with it, where
            the detector is. They count as successful if they fool that one.
        corruptions: Control: clean images after benign corruptions, by name, under the detector of `rates`.
    """

    detector: str
    detector_id: str | None
    key_specific: bool
    max_fpr: float
    rates: DetectionRates
    wrong_key: DetectionRates
    wrong_keys: tuple[DetectionRates, ...]
    no_honeypot: DetectionRates
    transfer: DetectionRates
    corruptions: Mapping[str, Corruption]

    @property
    def wrong_key_prediction(self) -> tuple[float, float]:
        """Where the overall true positive rate of a further wrong key falls, with 95 %."""
        return prediction_interval(np.array([rates.true_positives.value for rates in self.wrong_keys]))

    @property
    def exceeds_controls(self) -> bool:
        """Whether the overall true positive rate shows an effect of the honeypot.

        Its interval must lie above that of the model without a honeypot, and above what a wrong key reaches: above
        where a further one would fall, and above all that were tried. If not, what is detected is not owed to the
        honeypot.
        """
        low, _ = self.rates.true_positives.interval
        _, plain = self.no_honeypot.true_positives.interval
        _, predicted = self.wrong_key_prediction
        highest = max(rates.true_positives.value for rates in self.wrong_keys)
        return low > plain and low > predicted and low > highest


@dataclasses.dataclass(frozen=True)
class BaselineDetection:
    """Another kind of detector, on the same images.

    Attributes:
        key_specific: Whether that kind claims to find the key, rather than whatever helps.
        rates: With the key, on the model with the honeypot.
        wrong_key: Control: the same for keys that were not planted, on average.
        no_honeypot: Control: the same on the model without a honeypot. Of a kind that needs no key, it is what can be
            had without any honeypot.
    """

    key_specific: bool
    rates: DetectionRates
    wrong_key: DetectionRates
    no_honeypot: DetectionRates


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How much of the key an attacker reads off: mean cosine, over the classes, of an estimate and the pattern.

    Attributes:
        cosine_similarity: Of what is read off the model with the honeypot, with its key.
        wrong_key: Control: the same estimates and keys that were not planted, on average.
        no_honeypot: Control: estimates read off the model without a honeypot, with the key.
        n: How many images or perturbations the estimates rest on.
    """

    cosine_similarity: Estimate
    wrong_key: Estimate
    no_honeypot: Estimate
    n: int


@dataclasses.dataclass(frozen=True)
class AdaptiveDetection:
    """An attacker who knows of the honeypot, under the detector with the key.

    Attributes:
        rates: Flagged and successful.
        wrong_key: Control: flagged by detectors for keys that were not planted, on average.
        no_honeypot: Control: the same attacker on the model without a honeypot.
    """

    rates: AttackDetection
    wrong_key: Proportion
    no_honeypot: AttackDetection


@dataclasses.dataclass(frozen=True)
class Security:
    """What attackers who know of the honeypot reach.

    Attributes:
        recovery: How much of the key is recovered, by what it is read off: `"gradients"` of the model at the
            attacker's images, `"weights"` (gradients at random inputs, which take no image), or the perturbations of
            an attack, by its name.
        attackers: By attack, what becomes of it in the hands of each attacker.
    """

    recovery: Mapping[str, Recovery]
    attackers: Mapping[str, Mapping[str, AdaptiveDetection]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Whether two models can be told apart by what an attack makes of them.

    Attributes:
        discrepancies: How far apart sub-samples are, within either and across.
        tests: Two-sample tests, one for each number of queries.
    """

    discrepancies: Discrepancies
    tests: tuple[TwoSampleTest, ...]


@dataclasses.dataclass(frozen=True)
class Indistinguishability:
    """Whether a model with a honeypot can be told from one without.

    Attributes:
        honeypot: The model with the honeypot (first) and the model without (second).
        yardstick: Control: a further model without, from another seed (first), and the same second.
    """

    honeypot: Comparison
    yardstick: Comparison


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far clients of a kind come.

    Attributes:
        median: Half of the clients come no further; None if fewer than half come to an end.
        p90: Nine in ten come no further; None likewise.
    """

    median: float | None
    p90: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """One client's evidence over its queries.

    Attributes:
        queries: How many it had sent.
        statistic: `evidence.Evidence.statistic` after them.
        bound: `evidence.Evidence.bound` after them.
    """

    queries: tuple[int, ...]
    statistic: tuple[float, ...]
    bound: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ClientKind:
    """What becomes of clients of a kind.

    Attributes:
        honest: Whether they attack nobody.
        accused: How many are accused, of all that were simulated.
        queries: How many queries they send, half of them.
        queries_to_accusation: How many queries they have sent when they are accused, the last one included.
        attacked_to_accusation: How many images they have attacked by then; None of honest ones.
        fooled_before_accusation: How many of those fooled the model before the last query; None of honest ones.
        dependence: What a query's projection on the key is in the mean, in standard deviations, for one client, and the
            interval that chance leaves around it.
        curve: One client's evidence.
        wrong_key: Control: accused under keys that were not planted, on average.
        no_honeypot: Control: accused on the model without a honeypot.
    """

    honest: bool
    accused: Proportion
    queries: int
    queries_to_accusation: Spread
    attacked_to_accusation: Spread | None
    fooled_before_accusation: Spread | None
    dependence: Estimate
    curve: Curve
    wrong_key: Proportion
    no_honeypot: Proportion


@dataclasses.dataclass(frozen=True)
class Clients:
    """Simulated clients of a model.

    Attributes:
        alpha: The probability, over the draw of the key, that a client is ever accused whose queries do not depend on
            the key, at most.
        margin: `evidence.Rules.margin`, as it was measured.
        kinds: What becomes of clients, by kind.
    """

    alpha: float
    margin: float
    kinds: Mapping[str, ClientKind]


@dataclasses.dataclass(frozen=True)
class WithinBudget:
    """What an attacker reaches who may change so much, on a honeypot and on what a user would have instead.

    Attributes:
        budget: How far an adversarial image may be from the image, for it to count.
        honeypot: How many fool the model, how many of them are flagged, and how many pass.
        plain: How many fool the model without a honeypot; None of an attacker who has that one.
        adversarial: How many fool the one that was trained adversarially; None where there is none.
    """

    budget: float
    honeypot: AttackDetection
    plain: Proportion | None
    adversarial: Proportion | None


@dataclasses.dataclass(frozen=True)
class Compared:
    """One attacker, at one budget after the other.

    Attributes:
        norm: What budgets are in; see `Attack.norm`.
        budget: The one that counts.
        curve: What it reaches within each, the smallest first.
    """

    norm: str
    budget: float
    curve: tuple[WithinBudget, ...]

    @property
    def counted(self) -> WithinBudget:
        """What it reaches within the budget that counts."""
        return next(each for each in self.curve if each.budget == self.budget)


@dataclasses.dataclass(frozen=True)
class Example:
    """One image, and what an attack made of it on the model with the honeypot.

    Attributes:
        label: The image's class.
        predicted: What the model takes the adversarial image for.
        flagged: Whether the detector with the key flags it.
        x: The image, shape `(height, width, channels)`, float32 in [0, 1].
        x_adv: The adversarial image, likewise.
    """

    label: int
    predicted: int
    flagged: bool
    x: np.ndarray = dataclasses.field(compare=False, repr=False)
    x_adv: np.ndarray = dataclasses.field(compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All that `evaluate` finds.

    Attributes:
        key_id: The key's public name.
        viability: What the honeypot costs.
        reconstruction: How much of the watermark attacks draw, by attack.
        detection: How well attacks are detected.
        examples: A few successful adversarial images, by attack; of inputs that are no images, none.
        baselines: How well other kinds of detectors do, by name.
        security: What attackers who know of the honeypot reach; None if that was not asked for.
        indistinguishability: Whether attackers notice that there is one: by attack, and by whether they look at
            `"images"` or `"perturbations"`; None if there was no model to be the yardstick.
        clients: What becomes of simulated clients; None if that was not asked for.
        compared: What gets past, by attacker: those above, those who follow no gradient, and who has another model.
        adversarial_accuracy: The clean accuracy of the model that was trained adversarially; None where there is none.
    """

    key_id: str
    viability: Viability
    reconstruction: Mapping[str, Reconstruction]
    detection: Detection
    examples: Mapping[str, tuple[Example, ...]]
    baselines: Mapping[str, BaselineDetection] = dataclasses.field(default_factory=dict)
    security: Security | None = None
    indistinguishability: Mapping[str, Mapping[str, Indistinguishability]] | None = None
    clients: Clients | None = None
    compared: Mapping[str, Compared] = dataclasses.field(default_factory=dict)
    adversarial_accuracy: Proportion | None = None
