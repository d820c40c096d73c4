"""Whatever is damaged in a file from outside: one error, in one line that can be printed, or it did no harm."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from honeykeras import report
from honeykeras._files import sha256
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.attacks.shards import Shards, Store
from honeykeras.errors import HoneyKerasError

many = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def one_line(error):
    message = str(error)
    assert message
    assert len(message) < 1000
    assert message.isprintable(), repr(message)


def opens(action):
    """Whether a door lets something in; if not, for a reason that it states."""
    try:
        action()
    except HoneyKerasError as error:
        one_line(error)
        return False
    return True


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    """A finished folder of adversarial examples."""
    rng = np.random.default_rng(0)
    x = rng.random((3, 2, 2), np.float32)
    examples = AdversarialExamples(
        x, x[::-1], np.arange(3), np.array([True, False, True]), np.ones(3, int), np.ones(3, int)
    )
    config = {"targeted": False, "input_range": [0.0, 1.0], "seed": 0, "epsilon": 0.3}
    shared = {"attack": "pgd", "levels": 256, "mask": "0" * 64, "labels": "given", "model": "1" * 64}
    form = {"file_format": "npz", "shard_size": 3, "input_shape": [2, 2]}
    store = Store(tmp_path_factory.mktemp("crafted") / "folder", {**shared, **form, "config": config})
    store.begin()
    store.write(0, examples)
    return store.finish(3, 2, {store.path(0).name: sha256(store.path(0))})


@many
@given(st.data())
def test_craft_json(crafted, damaged, data):
    path = crafted.folder / "craft.json"
    intact = path.read_bytes()
    path.write_bytes(data.draw(damaged(json.loads(intact))))
    try:
        if opens(lambda: Shards.open(crafted.folder).load()):
            assert len(Shards.open(crafted.folder)) == 3
        opens(Store(crafted.folder, crafted.settings).begin)
    finally:
        path.write_bytes(intact)


@pytest.fixture(scope="module")
def reported():
    """A report that holds all that can be asked for, in few words."""
    path = Path(__file__).parents[2] / "examples" / "paper" / "record" / "mnist-balanced-0.json"
    document = report.read(path)
    document["sweep"] = document["sweep"][:2]
    for shown in document["examples"].values():
        del shown[1:]

    def shorten(value):
        if isinstance(value, dict):
            for name, entry in value.items():
                if name in ("false_positive_rates", "true_positive_rates") and "roc" not in value:
                    value[name] = _every_tenth(entry)
                else:
                    shorten(entry)

    shorten(document)
    report.files.check_report(document)
    return document


def _every_tenth(curve):
    return {name: points[::10] for name, points in curve.items()} if isinstance(curve, dict) else curve[::10]


def shown(document):
    """What people are shown of a report, but for its plots and events."""
    card, page = report.model_card(document), report.render(document)
    json.dumps(report.model_card_json(document), allow_nan=False)
    for text in (card, page):
        assert "<script" not in text
        text.encode()
    # Tables stay tables.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in card.splitlines() if row.startswith("|")} == {5}


@many
@given(st.data())
def test_report(reported, damaged, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_bytes(data.draw(damaged(reported)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.report.page.figures", lambda document: {})
        opens(lambda: shown(report.read(path)))


@pytest.mark.slow
@settings(many, max_examples=3000)
@given(st.data())
def test_report_with_its_plots(reported, damaged, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_bytes(data.draw(damaged(reported)))
    opens(lambda: shown(report.read(path)))
