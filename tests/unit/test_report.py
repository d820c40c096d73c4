import base64
import copy
import json
import re

import jsonschema
import numpy as np
import pytest
import tensorflow as tf

from honeykeras import report
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.evaluation import Detection, Proportion


@pytest.fixture
def document(evaluation):
    return report.make(evaluation, {"dataset": "made", "seed": 0})


@pytest.fixture
def full_document(full_evaluation, sweep_results):
    return report.with_sweep(report.make(full_evaluation, {"dataset": "made", "seed": 0}), sweep_results)


def test_is_what_the_schema_says(document):
    jsonschema.Draft202012Validator.check_schema(report.schema())
    jsonschema.validate(document, report.schema())
    assert document["schema_version"] == report.SCHEMA_VERSION


def test_names_that_others_rely_on(document):
    assert document["viability"]["clean_accuracy"] == 0.98
    assert document["viability"]["baseline_clean_accuracy"] == 0.99
    assert document["reconstruction"]["pgd"]["cosine_similarity"] == 0.3
    assert document["reconstruction"]["pgd"]["wrong_key"] == 0.1
    assert document["reconstruction"]["pgd"]["no_honeypot"] is None
    detection = document["detection"]
    assert (detection["max_fpr"], detection["false_positive_rate"]) == (0.05, 0.05)
    attack = detection["attacks"]["pgd"]
    assert (attack["true_positive_rate"], attack["n"], attack["attack_success_rate"]) == (0.9, 40, 0.8)
    assert attack["interval"] == list(Proportion(36, 40).interval)
    assert detection["overall"]["true_positive_rate"] == 0.9
    assert detection["overall"]["balanced_accuracy"] == pytest.approx(0.925)
    assert detection["controls"]["wrong_key"]["overall"]["true_positive_rate"] == 0.0625
    assert detection["controls"]["wrong_key"]["true_positive_rates"] == [0.05, 0.075]
    assert detection["controls"]["wrong_key"]["prediction_interval"] == pytest.approx([-0.2126, 0.3376], abs=1e-3)
    assert detection["controls"]["no_honeypot"]["overall"]["true_positive_rate"] == 0.1
    assert detection["controls"]["transfer"]["overall"]["true_positive_rate"] == 0.025
    assert detection["controls"]["corruptions"]["blur"]["flagged"] == 0.03
    assert detection["controls"]["corruptions"]["blur"]["accuracy"] == 0.97
    assert (detection["detector"], detection["key_specific"]) == ("key", True)
    assert detection["exceeds_controls"] is True
    assert detection["roc"]["auc"] == {"pgd": 0.8, "overall": 0.8}
    assert len(detection["roc"]["true_positive_rates"]["pgd"]) == len(detection["roc"]["false_positive_rates"])
    assert detection["roc"]["at"]["0.01"]["pgd"] == {"true_positive_rate": 0.9, "interval": attack["interval"], "n": 40}
    assert detection["published"]["true_positive_rate"] == 0.54
    trapdoor = document["baselines"]["trapdoor"]
    assert trapdoor["attacks"]["pgd"]["true_positive_rate"] == 0.5
    assert trapdoor["controls"]["wrong_key"]["attacks"]["pgd"]["true_positive_rate"] == 0.1
    assert trapdoor["controls"]["no_honeypot"]["attacks"]["pgd"]["true_positive_rate"] == 0.05


def test_all_that_can_be_asked_for(full_document):
    jsonschema.validate(full_document, report.schema())
    assert full_document["security"]["recovery"]["gradients"]["cosine_similarity"] == 0.4
    judged = full_document["indistinguishability"]["pgd"]["images"]
    assert [test["n"] for test in judged["honeypot"]["tests"]] == [50, 100]
    first, *_ = full_document["sweep"]
    assert (first["recipe"], first["varied"], first["value"]) == ("paper", "poison_rate", 0.1)
    assert (first["clean_accuracy"], first["baseline_clean_accuracy"], first["n"]) == (0.97, 0.99, 100)
    assert first["poisoned_rate"] == 0.3
    assert first["reconstruction"] == full_document["reconstruction"]


def test_sweep_can_be_replaced(full_document, sweep_results):
    fewer = report.with_sweep(full_document, sweep_results[:1])
    assert fewer["sweep"] == full_document["sweep"][:1]
    assert len(full_document["sweep"]) == len(sweep_results) > 1
    jsonschema.validate(fewer, report.schema())


def test_is_read_as_it_was_written(full_document, tmp_path):
    report.write(tmp_path / "report.json", full_document)
    assert report.read(tmp_path / "report.json") == full_document


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, StorageError, "Cannot read"),
        ("{", InvalidArgumentError, "must be a report of schema version 4. Received: no JSON"),
        ("[]", InvalidArgumentError, "must be a report of schema version 4. Received: at $, [] is not of type"),
        ('{"schema_version": 3}', InvalidArgumentError, "at $.schema_version, 4 was expected. Evaluate again"),
        ('{"schema_version": 4}', InvalidArgumentError, "must be as the schema of reports says"),
    ],
)
def test_reading_what_is_no_report(tmp_path, content, error, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(error, match=re.escape(message)):
        report.read(tmp_path / "report.json")


def test_examples_are_pictures(document, evaluation):
    """The difference is drawn about grey, as strong as the amplification says."""
    (example,), (made,) = document["examples"]["pgd"], evaluation.examples["pgd"]
    clean, adversarial, difference = (
        tf.io.decode_png(base64.b64decode(example[name])).numpy() / 255
        for name in ("clean", "adversarial", "difference")
    )
    assert np.allclose(clean, made.x, atol=1 / 255)
    assert np.allclose(adversarial, made.x_adv, atol=1 / 255)
    assert example["amplification"] == pytest.approx(5)
    assert np.allclose(difference, 0.5 + 5 * (made.x_adv - made.x), atol=1 / 255)
    assert (example["label"], example["predicted"], example["flagged"]) == (3, 8, True)


@pytest.mark.parametrize(
    "path",
    [("viability",), ("detection", "controls"), ("detection", "controls", "wrong_key"), ("detection", "overall")],
)
def test_schema_asks_for_the_controls(document, path):
    broken = copy.deepcopy(document)
    parent = broken
    for name in path[:-1]:
        parent = parent[name]
    del parent[path[-1]]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, report.schema())


def test_is_json_without_extensions(document, tmp_path):
    report.write(tmp_path / "report.json", document)
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == document


def test_never_replaces_silently(document, tmp_path):
    path = tmp_path / "report.json"
    report.write(path, document)
    with pytest.raises(StorageError, match="already exists"):
        report.write(path, {})
    assert json.loads(path.read_text()) == document
    report.write(path, {}, overwrite=True)
    assert json.loads(path.read_text()) == {}


def test_states_versions(document):
    assert set(document["environment"]["packages"]) >= {"honeykeras", "tensorflow", "keras", "cleverhans"}


@pytest.mark.parametrize(
    ("wrong_keys", "no_honeypot", "exceeds"),
    [
        ((2, 3, 4), 4, True),
        ((33, 34, 35), 4, False),
        ((2, 3, 4), 34, False),
        ((1, 2, 30), 4, False),
        ((4, 10, 25), 4, False),
    ],
    ids=["neither", "wrong keys", "plain", "one wrong key", "wrong keys spread"],
)
def test_exceeding_means_both_controls(rates, wrong_keys, no_honeypot, exceeds):
    """All of 36 of 40 detected: [77 %, 96 %]."""
    arms = tuple(rates(count) for count in wrong_keys)
    detection = Detection(
        "key", None, True, 0.05, rates(36), rates(sum(wrong_keys) / 3), arms, rates(no_honeypot), rates(1), {}
    )
    assert detection.exceeds_controls is exceeds
