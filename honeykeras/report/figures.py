"""The report's plots, as matplotlib figures, and those as SVG for a page or PNG for TensorBoard."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from honeykeras._optional import load_optional
from honeykeras.report.narrative import attack_name, norm_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of the light page, in both forms; a page that is dark replaces them, as it finds them in the SVG.
_INK = "#1b1f24"
_SERIES = ("#0b62c4", "#b3480a", "#2a7d36", "#7d3fb5")
_MUTED = "#7a7f87"

# About a phone's width, so that text is as large there as it is elsewhere.
_WIDTH = 4.6

_STYLE = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    # Names are text, whatever dollars are in them.
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}

TITLES = {
    "budgets": "What gets past within a budget, in % of the images attacked",
    "roc": "True against false positive rate, with the key and with its controls",
    "corruptions": "Benign corruptions of clean images: how many are flagged",
    "sweep": "Accuracy and reconstruction over poison rate, size and amplitude",
    "indistinguishability": "How often a classifier tells the honeypot from a plain model",
    "evidence": "Evidence over queries, one line a client, and the bound of the one that sends most",
    "clients": "One client of each kind: its evidence, and the bound of the one that sends most",
}


def figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """All plots that a document has data for, by name.

    Args:
        document: A report.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    matplotlib = load_optional("matplotlib")
    makers = {
        "budgets": _budgets,
        "roc": _roc,
        "corruptions": _corruptions,
        "sweep": _sweep,
        "indistinguishability": _indistinguishability,
        "clients": _clients,
    }
    with matplotlib.rc_context(_STYLE):
        made = {name: make(document) for name, make in makers.items()}
    return {name: figure for name, figure in made.items() if figure is not None}


def evidence(clients: Sequence[tuple[str, bool, Sequence[tuple[int, float, float]]]]) -> Figure:
    """How much there is against clients over their queries, and the bound at which they are accused.

    Args:
        clients: Of each its name, whether it is accused, and its queries, statistic and bound as they were on the way.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    with load_optional("matplotlib").rc_context(_STYLE):
        figure, ((axes,),) = _new(3.0)
        named = 0
        for name, accused, moments in clients:
            queries, statistics, _ = zip(*moments, strict=True)
            label = name if accused and named < len(_SERIES) else None
            colour = _MUTED if label is None else _colour(named)
            named += label is not None
            axes.plot(
                queries, [abs(each) for each in statistics], color=colour, linewidth=1.2 if label else 0.6, label=label
            )
        longest = max((moments for _, _, moments in clients), key=lambda moments: moments[-1][0])
        queries, _, bounds = zip(*longest, strict=True)
        axes.plot(queries, bounds, "--", color=_INK, linewidth=1, label="bound")
        axes.set(xscale="log", xlabel="queries", ylabel="evidence", ylim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(loc="upper left")
    return figure


def svg(name: str, figure: Figure) -> str:
    """A plot as an SVG element to be put into a page, whose colours it takes."""
    matplotlib = load_optional("matplotlib")
    # Without a salt and dates, names and bytes would differ each time.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), io.StringIO() as file:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing, bbox_inches="tight")
        text = file.getvalue()
    text = text[text.index("<svg") :]
    # Several plots share a page.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(_INK, "currentColor").replace(_MUTED, "var(--muted)")
    for number, colour in enumerate(_SERIES, 1):
        text = text.replace(colour, f"var(--series-{number})")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(TITLES[name])}"', 1)


def png(figure: Figure) -> bytes:
    """A plot as a PNG file, on white."""
    matplotlib = load_optional("matplotlib")
    with matplotlib.rc_context(_STYLE), io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=150, facecolor="white", bbox_inches="tight", metadata={"Software": None})
        return file.getvalue()


def _new(height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    # Without pyplot, which would keep every figure, and choose a backend for all of a program.
    figure = load_optional("matplotlib.figure").Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(figure: Figure) -> None:
    """One for all panels of a figure, each label once."""
    handles = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels())}  # noqa: B905
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)


def _colour(index: int) -> str:
    return _SERIES[index % len(_SERIES)]


def _budgets(document: Mapping[str, Any]) -> Figure | None:
    """A panel for each attacker that was judged at several budgets."""
    found = {name: each for name, each in document.get("compared", {}).items() if len(each.get("curve", ())) > 1}
    if not found:
        return None
    rows = -(-len(found) // 2)
    figure, grid = _new(0.5 + 1.5 * rows, rows, 2)
    for axes in grid.flat[len(found) :]:
        axes.remove()
    for axes, (name, each) in zip(grid.flat, found.items(), strict=False):
        for who, rate, label, style, colour in (
            ("honeypot", "undetected_rate", "honeypot, undetected", "o-", _SERIES[0]),
            ("adversarial", "fooled_rate", "trained adversarially, fooled", "s--", _SERIES[1]),
            ("plain", "fooled_rate", "plain, fooled", ":", _MUTED),
        ):
            points = [(point["budget"], 100 * point[who][rate]) for point in each["curve"] if point[who] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=colour, markersize=3, linewidth=1.2, label=label)
        axes.axvline(each["budget"], color=_MUTED, linewidth=0.8)
        axes.set(ylim=(-3, 103), xlim=(0, None))
        axes.set_title(f"{attack_name(name)}, {norm_name(each['norm'])}", fontsize=8)
    _legend(figure)
    return figure


def _roc(document: Mapping[str, Any]) -> Figure:
    detection = document["detection"]
    arms = {
        "key": (detection["roc"], "-", 1.8),
        "wrong keys": (detection["controls"]["wrong_key"]["roc"], ":", 1.2),
        "no honeypot": (detection["controls"]["no_honeypot"]["roc"], "--", 1.2),
    }
    figure, ((axes,),) = _new(3.4)
    for index, attack in enumerate(detection["attacks"]):
        for arm, (roc, style, width) in arms.items():
            points = [
                (x, y)
                for x, y in zip(roc["false_positive_rates"], roc["true_positive_rates"][attack], strict=True)
                if x > 0 and y is not None
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True), style, color=_colour(index), linewidth=width, label=f"{attack}, {arm}"
                )
    rates = [rate for rate in detection["roc"]["false_positive_rates"] if rate > 0]
    axes.plot(rates, rates, color=_MUTED, linewidth=0.8, label="chance")
    axes.set(xscale="log", xlabel="false positive rate", ylabel="true positive rate", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _corruptions(document: Mapping[str, Any]) -> Figure | None:
    found = document["detection"]["controls"]["corruptions"]
    if not found:
        return None
    figure, ((axes,),) = _new(0.6 + 0.27 * len(found))
    for place, judged in enumerate(found.values()):
        low, high = judged["interval"]
        axes.plot([100 * low, 100 * high], [place, place], color=_SERIES[0], linewidth=2)
        axes.plot(100 * judged["flagged"], place, "o", color=_SERIES[0], markersize=5)
    axes.axvline(100 * document["detection"]["max_fpr"], color=_MUTED, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(found)), [name.replace("_", " ") for name in found])
    axes.invert_yaxis()
    axes.set(xlabel="flagged, in % (dashed: what thresholds are calibrated to)", xlim=(0, None))
    return figure


def _sweep(document: Mapping[str, Any]) -> Figure | None:
    points = document.get("sweep")
    if not points:
        return None
    panels = list(_panels(points))
    figure, grid = _new(2.1 * len(panels), len(panels), 2)
    for row, (title, chosen) in zip(grid, panels, strict=True):
        _accuracy(row[0], chosen)
        _cosines(row[1], chosen)
        for axes in row:
            axes.set_xlabel(title, fontsize=8)
    grid[0][0].set_title("clean accuracy, %", fontsize=9)
    grid[0][1].set_title("cosine with the watermark", fontsize=9)
    _legend(figure)
    return figure


def _panels(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """What was varied of which recipe, and its points, in the order in which they come."""
    for recipe, varied in dict.fromkeys((point["recipe"], point["varied"]) for point in points):
        chosen = [point for point in points if (point["recipe"], point["varied"]) == (recipe, varied)]
        yield f"{recipe}: {varied.replace('_', ' ')}", sorted(chosen, key=_place)


def _place(point: Mapping[str, Any]) -> float:
    """Where a point stands. Poison rates that the data cannot give are shown as what was poisoned."""
    return point["poisoned_rate"] if point["varied"] == "poison_rate" else point["value"]


def _accuracy(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    for name, colour, label in (
        ("clean_accuracy", _INK, "with the honeypot"),
        ("baseline_clean_accuracy", _MUTED, "without"),
    ):
        values = [_place(point) for point in points]
        shares = [100 * point[name] for point in points]
        low, high = ([100 * point[f"{name}_interval"][end] for point in points] for end in (0, 1))
        axes.plot(values, shares, "o-", color=colour, markersize=3, linewidth=1.2, label=label)
        axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)


def _cosines(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    for index, attack in enumerate(points[0]["reconstruction"]):
        for name, style, label in (
            ("cosine_similarity", "o-", "key"),
            ("wrong_key", ":", "wrong keys"),
            ("no_honeypot", "--", "no honeypot"),
        ):
            drawn = [(_place(point), point["reconstruction"][attack][name]) for point in points]
            drawn = [(value, cosine) for value, cosine in drawn if cosine is not None]
            if drawn:
                axes.plot(
                    *zip(*drawn, strict=True),
                    style,
                    color=_colour(index),
                    markersize=3,
                    linewidth=1.2,
                    label=f"{attack}, {label}",
                )


def _indistinguishability(document: Mapping[str, Any]) -> Figure | None:
    found = document["indistinguishability"]
    if not found:
        return None
    views = list(dict.fromkeys(view for each in found.values() for view in each))
    figure, grid = _new(2.1 * len(views) + 0.6, len(views))
    for (axes,), view in zip(grid, views, strict=True):
        for index, (attack, judged) in enumerate(found.items()):
            for name, style, label in (("honeypot", "o-", "honeypot"), ("yardstick", "s--", "another plain model")):
                tests = judged[view][name]["tests"]
                axes.plot(
                    [test["n"] for test in tests],
                    [100 * test["classifier_accuracy"] for test in tests],
                    style,
                    color=_colour(index),
                    markersize=4,
                    linewidth=1.2,
                    label=f"{attack}, {label}",
                )
        axes.axhline(50, color=_MUTED, linewidth=0.8)
        axes.set(xlabel="queries of either model", ylabel="told right, %", title=f"adversarial {view}", ylim=(35, 102))
        axes.title.set_size(9)
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _clients(document: Mapping[str, Any]) -> Figure | None:
    clients = document.get("clients")
    if not clients:
        return None
    kinds = {name: kind for name, kind in clients.items() if isinstance(kind, Mapping)}
    figure, grid = _new(5.4, 2)
    for (axes,), honest in zip(grid, (False, True), strict=True):
        chosen = [(name, kind["curve"]) for name, kind in kinds.items() if kind["honest"] == honest]
        # Whoever goes furthest is named; the others are there to be seen.
        furthest = sorted(chosen, key=lambda each: -_furthest(each[1]))[: len(_SERIES)]
        for name, curve in chosen:
            named = [each for each, _ in furthest]
            colour = _colour(named.index(name)) if name in named else _MUTED
            label = name.replace("_", " ") if name in named else None
            values = [abs(value) for value in curve["statistic"]]
            axes.plot(curve["queries"], values, color=colour, linewidth=1.2 if label else 0.6, label=label)
        if chosen:
            longest = max((curve for _, curve in chosen), key=lambda curve: curve["queries"][-1])
            axes.plot(longest["queries"], longest["bound"], "--", color=_INK, linewidth=1, label="bound")
        axes.set(
            xscale="log",
            ylabel="evidence",
            title="who attacks nobody" if honest else "attackers",
            ylim=(0, None if chosen and not honest else 12),
        )
        axes.title.set_size(9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(loc="upper left")
    grid[1][0].set_xlabel("queries")
    return figure


def _furthest(curve: Mapping[str, Any]) -> float:
    return max(
        (abs(value) / bound for value, bound in zip(curve["statistic"], curve["bound"], strict=True)), default=0.0
    )
