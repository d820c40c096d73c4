"""Makes tables of the README and the docs from the records that `measure.py` left.

    python examples/paper/tables.py
    python examples/paper/tables.py --records mine --output mine.md

Without `--output` the tables in the pages are replaced.
"""

import argparse
import functools
import itertools
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from honeykeras import report
from honeykeras.report import narrative

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]

Row = list[str]


def past(documents: list[dict]) -> list[Row]:
    """What gets past, an attacker a row, and the accuracy; columns that the records know nothing of are left out."""
    fooled = "adversarially trained: fooled, mean", "worst", "plain: fooled, mean"
    rows = [["in percent", "within", "undetected, mean", "worst", *fooled]]
    for name in documents[0]["compared"]:
        found = [document["compared"][name] for document in documents]
        undetected = [each["honeypot"]["undetected_rate"] for each in found]
        adversarial, plain = (
            [each[kind]["fooled_rate"] for each in found if each[kind]] for kind in ("adversarial", "plain")
        )
        within = narrative.budget(found[0]["norm"], found[0]["budget"])
        rows.append(
            [narrative.attack_name(name), within, *_both(undetected, max), *_both(adversarial, max), _mean(plain)]
        )
    viability = [document["viability"] for document in documents]
    honeypot, adversarial, plain = (
        [each[name] for each in viability if name in each]
        for name in ("clean_accuracy", "adversarial_clean_accuracy", "baseline_clean_accuracy")
    )
    rows.append(["clean accuracy", "", *_both(honeypot, min), *_both(adversarial, min), _mean(plain)])
    known = [any(cells) for cells in zip(*rows[1:], strict=True)]
    return [list(itertools.compress(row, known)) for row in rows]


def attackers(documents: list[dict]) -> Iterator[Row]:
    """When clients who attack are accused, a kind a row."""
    seeds = [f"seed {document['settings']['seed']}" for document in documents]
    last = ["nine in ten, worst seed", "wrong keys", "no honeypot"]
    yield ["attacker", "accused", f"at attacked image, {seeds[0]}", *seeds[1:], *last]
    for name, found in _kinds(documents, honest=False):
        ninth = [each["attacked_to_accusation"]["p90"] for each in found]
        controls = [[each["controls"][control] for each in found] for control in ("wrong_key", "no_honeypot")]
        yield [
            name,
            _percent(min(each["accused"] for each in found), 0),
            *(_when(each["attacked_to_accusation"]["median"]) for each in found),
            "never" if None in ninth else _when(max(ninth)),
            *("" if None in each else _percent(max(each), 0) for each in controls),
        ]


def honest(documents: list[dict]) -> Iterator[Row]:
    """What becomes of clients who attack nobody, a kind a row."""
    yield [
        "honest client",
        "accused",
        "clients",
        "mean projection, greatest of the seeds",
        "half of where chance leaves it",
    ]
    for name, found in _kinds(documents, honest=True):
        far = max(found, key=lambda each: abs(each["dependence"] or 0))
        low, high = far["dependence_interval"]
        yield [
            name,
            _percent(max(each["accused"] for each in found), 0),
            str(sum(each["n"] for each in found)),
            f"{far['dependence']:.2f}",
            f"{(high - low) / 2:.2f}",
        ]


def recovered(documents: list[dict]) -> Iterator[Row]:
    """What attackers who know of the honeypot read of the key, a source a row."""
    yield ["recovered from", "cosine with the patterns, mean", "greatest", "wrong keys", "no honeypot"]
    for source in documents[0]["security"]["recovery"]:
        found = [document["security"]["recovery"][source] for document in documents]
        cosines = [each["cosine_similarity"] for each in found]
        far = [max((each[control] for each in found), key=abs) for control in ("wrong_key", "no_honeypot")]
        shown = statistics.mean(cosines), max(cosines), *far
        yield [_SOURCES.get(source) or f"perturbations of {_client(source)}", *(f"{cosine:.2f}" for cosine in shown)]


def knowing(documents: list[dict], attack: str) -> Iterator[Row]:
    """What gets past of attackers who know of the honeypot and make images by an attack, a kind a row."""
    yield ["in percent", "fools, mean", "undetected, mean", "worst", "wrong keys", "no honeypot"]
    for name in documents[0]["security"]["attackers"][attack]:
        yield [f"`{name}`", *_reached([document["security"]["attackers"][attack][name] for document in documents])]


def _reached(found: list[dict]) -> Row:
    """What an attacker reached, and the most that the controls flag of it."""
    fooled, undetected = ([each[name] for each in found] for name in ("attack_success_rate", "undetected_rate"))
    wrong = [each["controls"]["wrong_key"] for each in found]
    plain = [each["controls"]["no_honeypot"]["true_positive_rate"] for each in found]
    return [_mean(fooled), *_both(undetected, max), _greatest(wrong), _greatest(plain)]


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        page: The page.
        records: The folder of the records that it is made of.
        part: The part of a record that it shows.
        rows: What makes its rows.
    """

    page: str
    records: str
    part: str
    rows: Callable[[list[dict]], Iterable[Row]]


_SOURCES = {"gradients": "gradients at images", "weights": "gradients at random inputs"}

_BY_PGD, _BY_CW = (functools.partial(knowing, attack=name) for name in ("pgd", "cw"))

_TABLES = {
    "what gets past": Table("README.md", "clients", "compared", past),
    "attackers": Table("docs/evidence.md", "clients", "clients", attackers),
    "honest clients": Table("docs/evidence.md", "clients", "clients", honest),
    "what gets past hardened": Table("README.md", "hardened", "compared", past),
    "attackers hardened": Table("docs/evidence.md", "hardened", "clients", attackers),
    "what gets past on CIFAR-10": Table("README.md", "cifar10", "compared", past),
    "attackers on CIFAR-10": Table("docs/evidence.md", "cifar10", "clients", attackers),
    "honest clients on CIFAR-10": Table("docs/evidence.md", "cifar10", "clients", honest),
    "what gets past without the branch": Table("docs/planting.md", "unbranched", "compared", past),
    "attackers without the branch": Table("docs/evidence.md", "unbranched", "clients", attackers),
    "what is recovered": Table("docs/detection.md", "knowing", "security", recovered),
    "attackers who know, PGD": Table("docs/detection.md", "knowing", "security", _BY_PGD),
    "attackers who know, Carlini-Wagner": Table("docs/detection.md", "knowing", "security", _BY_CW),
}


def markdown(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table, the first of them its heading."""
    heading, *others = rows
    lines = [heading, ["---"] * len(heading), *others]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _kinds(documents: list[dict], *, honest: bool) -> Iterator[tuple[str, list[dict]]]:
    """Kinds of clients that all records have, and what became of them."""
    for name, kind in documents[0]["clients"].items():
        found = [document["clients"].get(name) for document in documents]
        if isinstance(kind, dict) and kind["honest"] == honest and all(found):
            yield _client(name), found


def _client(name: str) -> str:
    """A kind of client, as people call it."""
    for attack, said in narrative.ATTACKS.items():
        if name == attack or name.startswith(f"{attack}_"):
            name = name.replace(attack, said, 1)
            break
    return name.replace("_", " ")


def _both(shares: list[float], worst: Callable[[list[float]], float]) -> Row:
    return [_mean(shares), _percent(worst(shares)) if shares else ""]


def _greatest(shares: list[float | None]) -> str:
    # Where nothing fools a model, there is nothing to flag.
    known = [share for share in shares if share is not None]
    return _percent(max(known)) if known else ""


def _mean(shares: list[float]) -> str:
    return _percent(statistics.mean(shares)) if shares else ""


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}"


def _when(count: float | None) -> str:
    return "never" if count is None else f"{count:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--records", type=Path, help="folder of the records, one a seed, instead of those beside this")
    parser.add_argument("--output", type=Path, help="where to write the tables, instead of into the pages")
    options = parser.parse_args()
    made = {}
    for name, table in _TABLES.items():
        folder = options.records or _HERE / table.records
        documents = [report.read(path) for path in sorted(folder.glob("*.json"))]
        if documents and all(document.get(table.part) for document in documents):
            made[name] = markdown(table.rows(documents))
    if options.output:
        options.output.write_text("\n".join(made.values()))
        return
    for name, rows in made.items():
        place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        path = _ROOT / _TABLES[name].page
        path.write_text(place.sub(lambda _, rows=rows: rows, path.read_text(), count=1))


if __name__ == "__main__":
    main()
