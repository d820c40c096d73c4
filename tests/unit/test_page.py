"""What people are shown of a report: the page, the model card, TensorBoard."""

import html.parser
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import report
from honeykeras.errors import InvalidArgumentError, MissingDependencyError, StorageError
from honeykeras.report import narrative
from honeykeras.report.pictures import encode_png

SHAPE = (8, 8, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 10)
SETTINGS = {"dataset": "digits", "seed": 7, "epochs": 3, "samples": 50, "recipe": hk.recipes.BALANCED.get_config()}


@pytest.fixture
def document(evaluation):
    return {**report.make(evaluation, SETTINGS), "key_id": KEY.key_id}


@pytest.fixture
def full_document(full_evaluation, sweep_results):
    document = {**report.make(full_evaluation, SETTINGS), "key_id": KEY.key_id}
    return report.with_sweep(document, sweep_results)


class Checked(html.parser.HTMLParser):
    """Notes each element, and that all that open close in order."""

    empty = frozenset({"meta", "br", "img", "!doctype"})

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.empty:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("which", ["document", "full_document"])
class TestPage:
    def test_needs_nothing_else(self, request, which):
        """No script, and nothing that is fetched: whatever is referred to is in the file."""
        page = Checked(report.render(request.getfixturevalue(which)))
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "link", "iframe", "object", "form"}
        references = [
            value
            for _, attributes in page.elements
            for name, value in attributes.items()
            if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        assert references
        assert all(value.startswith(("data:image/png;base64,", "#")) for value in references)
        assert not re.search(r"@import|url\((?!#)", report.render(request.getfixturevalue(which)))

    def test_names_are_unique(self, request, which):
        """Several plots share the page, and each finds its own parts."""
        page = Checked(report.render(request.getfixturevalue(which)))
        names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(names) == len(set(names))

    def test_same_report_gives_the_same_page(self, request, which):
        document = request.getfixturevalue(which)
        assert report.render(document) == report.render(document)

    def test_pictures_say_what_they_are(self, request, which):
        page = Checked(report.render(request.getfixturevalue(which)))
        assert all(attributes["alt"] for tag, attributes in page.elements if tag == "img")
        assert all(attributes["aria-label"] for tag, attributes in page.elements if tag == "svg")


def test_tells_figures_with_their_controls(document):
    text = Checked(report.render(document)).text
    for figure in ("90.0 %", "(76.9", "6.2", "10.0", "98.0", "99.0", "69.5", "54.0", "14.1", "50.0", "0.300", "n/a"):
        assert figure in text
    assert "a honeypot effect" in text


def test_tells_all_that_was_asked_for(full_document):
    page = Checked(report.render(full_document))
    for words in ("freezes half", "told right, %", "balanced: block size", "paper: watermark size", "0.40"):
        assert words in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 6
    for words in ("Clients who attack nobody", "pgd one in 10", "never", "30 (90 %: more)"):
        assert words in page.text


def test_what_was_not_judged_is_said(document):
    text = Checked(report.render(document)).text
    assert "Attackers who know of the honeypot were not judged" in text
    assert "Clients were not simulated: honeykeras evaluate --clients" in text
    assert "Whether an attacker notices the honeypot was not judged here." in text


def test_says_which_rows_the_honeypot_loses(full_document, document):
    page = Checked(report.render(full_document))
    assert "The honeypot loses 2 of 3 rows" in page.text
    assert sum(attributes.get("class") == "lost" for tag, attributes in page.elements if tag == "td") == 2
    full_document["compared"] = {"transfer": full_document["compared"]["transfer"]}
    assert "The honeypot loses no row" in Checked(report.render(full_document)).text
    assert "What gets past" not in Checked(report.render(document)).text
    document["compared"] = {"pgd": {**full_document["compared"]["transfer"], "adversarial": None}}
    assert "honeykeras train --baseline adversarial" in Checked(report.render(document)).text


def test_budgets(full_document, document):
    page = Checked(report.render(full_document))
    assert "L-infinity 0.3" in page.text
    assert "Projected gradient descent, L-infinity" in page.text
    assert "--curves" in page.text
    # Where each was judged at one budget, there is nothing to draw.
    full_document["compared"] = {"stripes": full_document["compared"]["stripes"]}
    page = Checked(report.render(full_document))
    assert "What gets past within a budget" not in page.text
    assert "--curves" not in page.text
    # Reports from before there were budgets.
    older = {
        name: value
        for name, value in full_document["compared"]["stripes"].items()
        if name not in ("norm", "budget", "curve")
    }
    document["compared"] = {"stripes": older}
    assert "any" in Checked(report.render(document)).text


@pytest.mark.parametrize(
    ("norm", "value", "said"), [("2", 2.0, "L2 2"), ("inf", 8 / 255, "L-infinity 0.0314"), ("0", 113.0, "113 features")]
)
def test_budgets_as_people_call_them(norm, value, said):
    assert narrative.budget(norm, value) == said


def test_no_effect_is_no_success(document):
    document["detection"]["exceeds_controls"] = False
    page = Checked(report.render(document))
    assert "No honeypot effect is shown." in page.text
    assert ("p", {"class": "verdict"}) in page.elements


def test_settings_are_text(document):
    document["settings"]["dataset"] = "<script>alert(1)</script>"
    page = Checked(report.render(document))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert(1)</script>" in page.text


def test_classes_are_called_by_their_names(document):
    assert "class 3, taken for class 8" in Checked(report.render(document)).text
    document["settings"]["class_names"] = [*"abc", "<owl>", *"efgh", "cat", "j"]
    page = Checked(report.render(document))
    assert "<owl>, taken for cat" in page.text
    assert "owl" not in {tag for tag, _ in page.elements}
    document["settings"]["class_names"] = ["too", "few"]
    assert "class 3, taken for class 8" in Checked(report.render(document)).text


def test_tells_how_the_model_was_trained(document):
    document["settings"].update(model="my models.py:resnet", augment="a.py:flip", branch=False, batch_size=32)
    said = narrative.commands(document)
    assert "--batch-size 32 --model 'my models.py:resnet' --augment a.py:flip --no-branch --output trained" in said


def test_attack_that_never_succeeds(document):
    """Figures that do not exist are told as such."""
    attack = document["detection"]["attacks"]["pgd"]
    attack.update(true_positive_rate=None, interval=[0.0, 1.0], n=0, attack_success_rate=0.0)
    controls = document["detection"]["controls"]
    for arm in (document["detection"], controls["wrong_key"], controls["transfer"]):
        arm["overall"].update(true_positive_rate=None, balanced_accuracy=None)
        arm["roc"]["true_positive_rates"]["pgd"] = [None] * len(arm["roc"]["false_positive_rates"])
        arm["roc"]["auc"]["pgd"] = None
    controls["wrong_key"]["prediction_interval"] = [None, None]
    assert "n/a" in Checked(report.render(document)).text
    assert "n/a" in report.model_card(document)


class TestWatermark:
    def pictures(self):
        return [encode_png(0.5 + 0.5 * pattern) for pattern in hk.Watermark(KEY).patterns().numpy()]

    def test_is_not_shown(self, full_document):
        page = report.render(full_document)
        assert not any(picture in page for picture in self.pictures())
        assert "Not shown: it is secret." in page

    def test_is_shown_to_who_holds_the_key(self, full_document):
        page = report.render(full_document, key=KEY)
        assert all(picture in page for picture in self.pictures())
        assert "This page shows the watermark, which is secret" in page
        assert bytes(range(32)).hex() not in page

    def test_another_key_is_refused(self, document):
        with pytest.raises(InvalidArgumentError, match="must be that of the report"):
            report.render(document, key=KEY.wrong_key(0))

    def test_key_of_no_images(self, document):
        tabular = hk.WatermarkKey(bytes(range(32)), (5,), 3)
        document["key_id"] = tabular.key_id
        with pytest.raises(InvalidArgumentError, match="can be shown for images"):
            report.render(document, key=tabular)

    def test_page_that_shows_it_is_private(self, document, tmp_path):
        report.write_page(tmp_path / "secret.html", document, key=KEY)
        assert stat.S_IMODE(os.stat(tmp_path / "secret.html").st_mode) == 0o600

    def test_failure_leaves_the_old_page(self, document, tmp_path):
        path = tmp_path / "report.html"
        path.write_text("old")
        with pytest.raises(InvalidArgumentError):
            report.write_page(path, document, key=KEY.wrong_key(0), overwrite=True)
        with pytest.raises(StorageError, match="already exists"):
            report.write_page(path, document)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["report.html"]


def test_card_has_the_figures_beside_their_controls(document):
    card = report.model_card(document)
    assert "| Projected gradient descent: detected of 40 | 90.0 % (76.9 % to 96.0 %) | 6.2 % | 10.0 % |" in card
    assert "| accuracy on 100 clean images | 98.0 % | | 99.0 % |" in card
    assert "## Limits" in card
    assert all(row.count("|") == 5 for row in card.splitlines() if row.startswith("|"))


def test_tensorboard_has_figures_and_plots(full_document, tmp_path):
    report.write_summaries(full_document, tmp_path / "logs", step=3)
    (path,) = (tmp_path / "logs").iterdir()
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    values = {value.tag: (event.step, value) for event in events for value in event.summary.value}
    step, value = values["honeykeras/key/pgd/true_positive_rate"]
    assert (step, tf.make_ndarray(value.tensor)) == (3, np.float32(0.9))
    assert {f"honeykeras/{name}" for name in ("roc", "corruptions", "sweep", "indistinguishability")} < set(values)
    _, plot = values["honeykeras/roc"]
    assert tf.make_ndarray(plot.tensor)[2].startswith(b"\x89PNG")


def test_tensorboard_folder_that_cannot_be(document, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write events"):
        report.write_summaries(document, tmp_path / "file" / "logs")


def test_missing_package_is_named(document, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'honeykeras\[report\]'"):
        report.render(document)


def test_library_does_without_what_only_pages_need():
    """Where the extra is not installed, everything else works."""
    code = """
import sys
sys.modules.update(dict.fromkeys(("jinja2", "matplotlib")))
import honeykeras as hk
hk.report.schema()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
