"""An evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from honeykeras.evaluation import (
    BaselineDetection,
    Clients,
    DetectionRates,
    Estimate,
    Evaluation,
    Indistinguishability,
    Proportion,
    Security,
    TwoSampleTest,
)
from honeykeras.report import narrative
from honeykeras.report.verdict import verdict


def show(evaluation: Evaluation, console: Console | None = None) -> None:
    """Prints an evaluation beside its controls, and what they say of it in one sentence.

    The controls: detectors for keys that were not planted, the model trained without a honeypot, adversarial images
    made on that and sent to the other, and clean images after benign corruptions.
    """
    console = console or Console()
    console.print(_figures(evaluation))
    console.print(_past(evaluation))
    if evaluation.baselines:
        console.print(_others(evaluation.baselines))
    if evaluation.security:
        console.print(_recovered(evaluation.security))
        console.print(_adaptive(evaluation.security))
    if evaluation.indistinguishability:
        console.print(_noticed(evaluation.indistinguishability))
    if evaluation.clients:
        console.print(_clients(evaluation.clients))
    console.print(conclusion(evaluation), highlight=False)


def _figures(evaluation: Evaluation) -> Table:
    detection, viability = evaluation.detection, evaluation.viability
    arms = (detection.rates, detection.wrong_key, detection.no_honeypot)
    accuracy, baseline_accuracy = viability.clean_accuracy, viability.baseline_clean_accuracy
    title = f"In percent, with 95 % intervals; {accuracy.n} clean test images"
    table = _table(title, "", "honeypot", "wrong key", "no honeypot")
    table.add_row("clean accuracy", _share(accuracy), "", _share(baseline_accuracy))
    for name, found in evaluation.reconstruction.items():
        attacks = [arm.attacks[name] for arm in arms]
        transferred = detection.transfer.attacks[name]
        succeeded, _, succeeded_on_baseline = (attack.attack_success for attack in attacks)
        table.add_section()
        table.add_row(f"{name}: attacked", str(succeeded.n), "", str(succeeded_on_baseline.n))
        table.add_row("  fooled the model", _share(succeeded), "", _share(succeeded_on_baseline))
        table.add_row("  detected (TPR)", *(_share(attack.true_positives) for attack in attacks))
        table.add_row("  undetected, of all", *(_share(attack.undetected) for attack in attacks))
        table.add_row("  transferred: fooled", _share(transferred.attack_success))
        table.add_row("    and detected", _share(transferred.true_positives))
        cosines = (found.cosine_similarity, found.wrong_key, found.no_honeypot)
        table.add_row("  cosine similarity", *(f"{cosine.value:.3f}" for cosine in cosines))
    table.add_section()
    overall = [_share(arm.true_positives) for arm in arms]
    # How far another wrong key may go, rather than how well this many images tell.
    low, high = (min(max(end, 0.0), 1.0) for end in detection.wrong_key_prediction)
    overall[1] = _percent(detection.wrong_key.true_positives.value, (low, high))
    table.add_row("all detected (TPR)", *overall)
    table.add_row("clean flagged (FPR)", *(_share(arm.false_positives) for arm in arms))
    table.add_row("balanced accuracy", *(_balanced(arm) for arm in arms))
    if detection.corruptions:
        table.add_section()
        table.add_row("clean, but with", "flagged", "accuracy")
    for name, corruption in detection.corruptions.items():
        table.add_row(f"  {_words(name)}", _share(corruption.flagged), _share(corruption.accuracy))
    return table


def _past(evaluation: Evaluation) -> Table:
    """What gets past, beside what fools other models."""
    columns = [
        "within",
        "undetected",
        "plain: fooled",
        *(["adversarial: fooled"] if evaluation.adversarial_accuracy else []),
    ]
    table = _table("What gets past, in percent of those attacked", "", *columns)
    for name, found in evaluation.compared.items():
        counted = found.counted
        others = (counted.plain, counted.adversarial)[: len(columns) - 2]
        table.add_row(
            _words(name),
            narrative.budget(found.norm, found.budget),
            _share(counted.honeypot.undetected),
            *(_share(each) if each else "" for each in others),
        )
    return table


def _others(baselines: Mapping[str, BaselineDetection]) -> Table:
    table = _table("Other detectors on the same images, in percent", "", "honeypot", "wrong key", "no honeypot")
    for name, found in baselines.items():
        arms = (found.rates, found.wrong_key, found.no_honeypot)
        table.add_section()
        table.add_row(name)
        for attack in found.rates.attacks:
            table.add_row(f"  {attack}: TPR", *(_share(arm.attacks[attack].true_positives) for arm in arms))
        table.add_row("  clean flagged", *(_share(arm.false_positives) for arm in arms))
    return table


def _recovered(security: Security) -> Table:
    title = "What attackers recover of the key: cosines, 95 % intervals over classes"
    table = _table(title, "read off", "honeypot", "wrong key", "no honeypot")
    for source, found in security.recovery.items():
        estimates = (found.cosine_similarity, found.wrong_key, found.no_honeypot)
        table.add_row(source, *map(_cosine, estimates))
    return table


def _adaptive(security: Security) -> Table:
    title = "Attackers who know of the honeypot, in percent (missed: of all attacked)"
    table = _table(title, "", "fools", "detected\n(TPR)", "wrong\nkey", "plain\nmodel", "missed")
    for attack, attackers in security.attackers.items():
        table.add_section()
        table.add_row(attack)
        for name, found in attackers.items():
            table.add_row(
                f" {_words(name)}",
                f"{found.rates.attack_success.value * 100:.0f}",
                _share(found.rates.true_positives),
                f"{found.wrong_key.value * 100:.1f}",
                f"{found.no_honeypot.true_positives.value * 100:.1f}",
                f"{found.rates.undetected.value * 100:.0f}",
            )
    return table


def _noticed(found: Mapping[str, Mapping[str, Indistinguishability]]) -> Table:
    title = "Whether an attacker notices the honeypot: told from a plain model"
    table = _table(title, "", "queries", "honeypot\nright, in %", "p", "other plain\nright, in %", "p")
    for attack, views in found.items():
        for looked_at, judged in views.items():
            table.add_section()
            table.add_row(f"{attack}: {looked_at}")
            for honeypot, yardstick in zip(judged.honeypot.tests, judged.yardstick.tests, strict=True):
                table.add_row("", str(honeypot.n), *_told(honeypot), *_told(yardstick))
    return table


def _clients(clients: Clients) -> Table:
    title = f"Who is accused, at a probability of {clients.alpha:g} for whoever does not know of the key, in percent"
    table = _table(title, "sends", "accused", "at query", "(90 %)", "at image", "wrong\nkey", "plain\nmodel")
    for honest in (True, False):
        table.add_section()
        for name, kind in clients.kinds.items():
            if kind.honest == honest:
                at, image = kind.queries_to_accusation, kind.attacked_to_accusation
                table.add_row(
                    _words(name),
                    _share(kind.accused),
                    _count(at.median),
                    _count(at.p90),
                    "" if image is None else _count(image.median),
                    f"{kind.wrong_key.value * 100:.1f}",
                    "" if not kind.no_honeypot.n else f"{kind.no_honeypot.value * 100:.0f}",
                )
    return table


def _count(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _told(test: TwoSampleTest) -> tuple[str, str]:
    return _share(test.classifier_accuracy), f"{test.p_value:.3f}"


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def conclusion(evaluation: Evaluation) -> str:
    """What the controls say of the detection, in one sentence."""
    detection = evaluation.detection
    return verdict(exceeds_controls=detection.exceeds_controls, key_specific=detection.key_specific)


def _cosine(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.2f} ({low:.2f} to {high:.2f})"


def _share(proportion: Proportion) -> str:
    return _percent(proportion.value, proportion.interval)


def _balanced(rates: DetectionRates) -> str:
    return _percent(rates.balanced_accuracy.value, rates.balanced_accuracy.interval)


def _percent(value: float, interval: tuple[float, float]) -> str:
    shown, low, high = (f"{share * 100:.1f}".replace("100.0", "100") for share in (value, *interval))
    return f"{shown} ({low}-{high})"
