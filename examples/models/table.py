"""Makes the table of docs/models.md from the records that `measure.py` left.

    python examples/models/table.py
    python examples/models/table.py --records mine --output mine.md

Without `--output` the table in docs/models.md is replaced.
"""

import argparse
import re
from pathlib import Path

# Beside this file.
import measure

from honeykeras import report

_HERE = Path(__file__).parent
_PAGE = _HERE.parents[1] / "docs" / "models.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)
_COLUMNS = (
    "network",
    "inputs",
    "branch",
    "images",
    "epochs",
    "accuracy",
    "without",
    "similarity",
    "wrong keys",
    "PGD",
    "wrong keys",
    "no honeypot",
    "CW",
    "wrong keys",
    "no honeypot",
    "s an epoch",
    "plain",
)


def table(records: Path) -> str:
    """The records as a Markdown table, in the order of `measure.CASES`."""
    paths = [records / f"{name}.json" for name in measure.CASES]
    rows = [row(report.read(path)) for path in paths if path.exists()]
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def row(document: dict) -> list[str]:
    """One record, a figure a cell; shares in percent."""
    settings, viability, detection = document["settings"], document["viability"], document["detection"]
    arms = [detection, *(detection["controls"][name] for name in ("wrong_key", "no_honeypot"))]
    probed, seconds = settings["probed"], settings["seconds_an_epoch"]
    return [
        settings["network"],
        " x ".join(map(str, settings["input_shape"])),
        "yes" if settings["branch"] else "no",
        f"{settings['images']:,}",
        str(settings["epochs"]),
        _percent(viability["clean_accuracy"]),
        _percent(viability["baseline_clean_accuracy"]),
        f"{probed['watermark_similarity']:.3f}",
        f"{probed['watermark_similarity_wrong_key']:.3f}",
        *(_percent(arm["attacks"][name]["true_positive_rate"]) for name in ("pgd", "cw") for arm in arms),
        f"{seconds['honeypot']:.1f}",
        f"{seconds['plain']:.1f}",
    ]


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--records", type=Path, default=_HERE / "record", help="folder of the records")
    parser.add_argument("--output", type=Path, help="a file for the table alone")
    options = parser.parse_args()
    made = table(options.records)
    if options.output:
        options.output.write_text(made, encoding="utf-8")
    else:
        _PAGE.write_text(_TABLE.sub(made, _PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
