"""Reports from outside: refused in one line, or shown as they are."""

import html
import itertools
import json
import subprocess
import sys

import pytest

import honeykeras as hk
from honeykeras import report
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.arena import check_attacks
from honeykeras.ranges import UNIT


@pytest.fixture
def document(full_evaluation, sweep_results):
    settings = {"dataset": "digits", "seed": 7, "epochs": 3, "recipe": {"name": "balanced"}}
    return report.with_sweep(report.make(full_evaluation, settings), sweep_results)


def at(document, *path):
    for name in path:
        document = document[name]
    return document


def put(*path, value):
    return lambda document: at(document, *path[:-1]).__setitem__(path[-1], value)


def drop(*path):
    return lambda document: at(document, *path[:-1]).__delitem__(path[-1])


CONTROLS = ("detection", "controls")
TESTS = ("indistinguishability", "pgd", "images")


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (drop("settings", "recipe", "name"), "$.settings.recipe, 'name' is a required"),
        (put("settings", "recipe", value="balanced"), "$.settings.recipe, 'balanced' is not of type 'object'"),
        (put("settings", "dataset", value=3), "$.settings.dataset, 3 is not of type 'string'"),
        (put("settings", "dataset", value="a\nb"), "$.settings.dataset, 'a\\nb' does not match"),
        (put("settings", "seconds", value={"training": "long"}), "$.settings.seconds.training, 'long' is not"),
        (drop("environment", "packages", "honeykeras"), "$.environment.packages, 'honeykeras' is a required"),
        (put("viability", "clean_accuracy", value=None), "$.viability.clean_accuracy, None is not of type 'number'"),
        (put("sweep", 0, "clean_accuracy", value=None), "$.sweep[0].clean_accuracy, None is not of type 'number'"),
        (put("sweep", 0, "poisoned_rate", value=None), "$.sweep[0].poisoned_rate, None is not of type 'number'"),
        (put("sweep", 1, "reconstruction", value={}), "$.sweep[1].reconstruction, 'pgd' missing here"),
        (put(*CONTROLS, "corruptions", "blur", "flagged", value=None), "corruptions.blur.flagged, None is not"),
        (drop(*CONTROLS, "transfer", "attacks", "pgd"), "$.detection.controls.transfer.attacks, 'pgd' missing here"),
        (drop("baselines", "trapdoor", "controls", "wrong_key", "attacks", "pgd"), "wrong_key.attacks, 'pgd' missing"),
        (drop("detection", "roc", "auc", "pgd"), "$.detection.roc.auc, 'pgd' missing"),
        (drop("detection", "roc", "true_positive_rates", "pgd", 0), "true_positive_rates.pgd, 61 values where 62"),
        (put("detection", "roc", "false_positive_rates", 3, value=None), "false_positive_rates[3], None is not"),
        (put("detection", "roc", "at", "often", value={}), "$.detection.roc.at, 'often' does not match"),
        (put(*CONTROLS, "no_honeypot", "roc", "at", "0.2", value={"overall": None}), "None is not of type 'object'"),
        (drop(*TESTS, "yardstick", "tests", 0), "$.indistinguishability.pgd.images.yardstick.tests, 1 values where 2"),
        (put(*TESTS, "honeypot", "tests", 0, "classifier_accuracy", value=None), "classifier_accuracy, None is not"),
        (put("detection", "attacks", "overall", value={}), "$.detection.attacks, 'overall' should not be valid"),
        (put("key_id", value="0123456789abcdef\n"), "$.key_id, '0123456789abcdef\\n' is too long"),
    ],
)
def test_what_would_break_a_page_is_refused(damage, place, document, tmp_path):
    damage(document)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidArgumentError) as raised:
        report.read(path)
    message = str(raised.value)
    assert message.startswith(f"{path} must be ")
    assert place in message
    assert message.isprintable()


NAMES = (r"$\foo{$", "$$", "<script>alert(1)</script>", "| a |", "`x` *y* [z](w)", "\\", "#")


def name_all(document, name):
    """Puts a name in wherever a report has one that somebody chose."""
    document["settings"].update(dataset=name, recipe={"name": name}, seconds={name: 1})
    for point in document["sweep"]:
        point["recipe"] = name
    corruptions = document["detection"]["controls"]["corruptions"]
    corruptions[name] = corruptions.pop("blur")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_wherever_they_stand(name, document, tmp_path, monkeypatch):
    for module in ("page", "tensorboard"):  # Plots are below.
        monkeypatch.setattr(f"honeykeras.report.{module}.figures", lambda document: {})
    name_all(document, name)
    report.write(tmp_path / "report.json", document)
    found = report.read(tmp_path / "report.json")
    page, card = report.render(found), report.model_card(found)
    report.write_summaries(found, tmp_path / "logs")
    assert report.model_card_json(found)["model_parameters"]["data"] == [{"name": name}]
    assert "<script>" not in page + card
    assert f"trained on {name} as" not in card


def test_names_are_text_in_plots(document, tmp_path):
    """All of them at once, as plots take a second. A formula that matplotlib cannot read would be an error."""
    corruptions = document["detection"]["controls"]["corruptions"]
    corruptions.update(dict.fromkeys(NAMES, corruptions["blur"]))
    for point, name in zip(document["sweep"], itertools.cycle(NAMES), strict=False):
        point["recipe"] = name
    report.write(tmp_path / "report.json", document)
    found = report.read(tmp_path / "report.json")
    page = report.render(found)
    assert "<script>" not in page
    for name in map(html.escape, NAMES):
        assert f">{name}</text>" in page
        assert f">{name}: " in page
    report.write_summaries(found, tmp_path / "logs")


def test_card_is_plain_text_to_markdown(document):
    document["settings"]["dataset"] = "<b>|`_*[x](y)\\$"
    card = report.model_card(document)
    assert r"trained on &lt;b&gt;\|\`\_\*\[x\](y)\\\$ as a honeypot" in card
    assert "<" not in card


def test_card_is_plain_text_to_html(document):
    """To readers of Markdown, too, that do not know of backslashes before angle brackets."""
    name = "<script>alert(1)</script> &copy; <img src=x onerror=alert(1)>"
    name_all(document, name)
    card = report.model_card(document)
    assert "<" not in card
    assert "&copy;" not in card
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;copy; &lt;img src=x onerror=alert(1)&gt;" in card


def test_commands_take_names_for_one_word(document):
    document["settings"]["dataset"] = "digits; rm -rf ~"
    assert "--dataset &#39;digits; rm -rf ~&#39; " in report.render(document)


class TestOwnAttack:
    @pytest.fixture
    def own(self, document):
        return json.loads(json.dumps(document).replace('"pgd"', '"mine-2.0"'))

    def test_is_read_and_shown(self, own, tmp_path):
        report.write(tmp_path / "report.json", own)
        found = report.read(tmp_path / "report.json")
        assert "| mine-2.0: detected of 40 |" in report.model_card(found)
        assert "<td>mine-2.0</td>" in report.render(found)
        metrics = report.model_card_json(found)["quantitative_analysis"]["performance_metrics"]
        assert any("mine-2.0" in metric["slice"] for metric in metrics)

    def test_takes_no_row_of_what_gets_past(self):
        """Images made on another model are one, by the name of `transfer`."""
        attack = hk.attacks.PGD(0.1)
        attack.name = "transfer"
        with pytest.raises(InvalidArgumentError, match="and not one of overall, gradients, weights, transfer"):
            check_attacks([attack], UNIT)

    @pytest.mark.parametrize("name", ["overall", "gradients", "weights", "", "a b", "<b>", "-x", "x" * 65, "\ud800"])
    def test_names_that_reports_cannot_hold_are_refused_before_any_work(self, name):
        attack = hk.attacks.PGD(0.1)
        attack.name = name
        with pytest.raises(InvalidArgumentError, match="An attack's `name` must be"):
            check_attacks([attack], UNIT)
        with pytest.raises(ValueError, match="at "):
            report.files.check({name: {}}, {**report.schema(), **report.schema()["$defs"]["attacks"]})


def test_settings_that_no_page_could_show_are_refused_before_they_are_written(full_evaluation):
    with pytest.raises(InvalidArgumentError, match=r"at \$\.settings\.recipe, 'name' is a required property"):
        report.make(full_evaluation, {"recipe": {}})


def test_is_shown_without_tensorflow(document, tmp_path):
    report.write(tmp_path / "report.json", document)
    code = (
        "import sys; from honeykeras.cli.main import run; "
        "assert run(['report', *sys.argv[1:]]) == 0; sys.exit('tensorflow' in sys.modules)"
    )
    outputs = ["--output", tmp_path / "page.html", "--model-card", tmp_path / "card.md"]
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "report.json", *outputs], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "page.html").stat().st_size > 10_000
