"""Makes tables of the README and the docs from the records that `measure.py --adversarial --clients` left.

    python examples/paper/tables.py
    python examples/paper/tables.py --records mine --output mine.md

Without `--output` the tables in the pages are replaced.
"""

import argparse
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


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        page: The page.
        records: The folder of the records that it is made of.
        rows: What makes its rows.
    """

    page: str
    records: str
    rows: Callable[[list[dict]], Iterable[Row]]


_TABLES = {
    "what gets past": Table("README.md", "clients", past),
    "attackers": Table("docs/evidence.md", "clients", attackers),
    "honest clients": Table("docs/evidence.md", "clients", honest),
    "what gets past hardened": Table("README.md", "hardened", past),
    "attackers hardened": Table("docs/evidence.md", "hardened", attackers),
    "what gets past on CIFAR-10": Table("README.md", "cifar10", past),
    "attackers on CIFAR-10": Table("docs/evidence.md", "cifar10", attackers),
    "honest clients on CIFAR-10": Table("docs/evidence.md", "cifar10", honest),
    "what gets past without the branch": Table("docs/planting.md", "unbranched", past),
    "attackers without the branch": Table("docs/evidence.md", "unbranched", attackers),
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
        made[name] = markdown(table.rows([report.read(path) for path in sorted(folder.glob("*.json"))]))
    if options.output:
        options.output.write_text("\n".join(made.values()))
        return
    for name, table in _TABLES.items():
        place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        path = _ROOT / table.page
        path.write_text(place.sub(lambda _, name=name: made[name], path.read_text(), count=1))


if __name__ == "__main__":
    main()
