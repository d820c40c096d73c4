import base64
import copy
import json
import math

import jsonschema
import numpy as np
import pytest
import tensorflow as tf

from honeykeras import report
from honeykeras.errors import StorageError
from honeykeras.evaluation import (
    AttackDetection,
    BaselineDetection,
    Corruption,
    Detection,
    DetectionRates,
    Estimate,
    Evaluation,
    Example,
    Proportion,
    Reconstruction,
    Roc,
    Viability,
)
from honeykeras.evaluation.roc import FALSE_POSITIVE_RATES, OPERATING_POINTS

CLEAN = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4, 1)
ADVERSARIAL = np.clip(CLEAN + np.float32(0.1) * np.where(np.arange(16) % 2, 1, -1).reshape(4, 4, 1), 0, 1)


def rates(caught):
    found = Proportion(caught, 40)
    roc = Roc(0.8, tuple(rate**0.5 for rate in FALSE_POSITIVE_RATES), dict.fromkeys(OPERATING_POINTS, found))
    return DetectionRates(
        Proportion(5, 100), found, {"pgd": AttackDetection(found, Proportion(40, 50))}, {"pgd": roc, "overall": roc}
    )


@pytest.fixture
def evaluation():
    cosine = Estimate(0.3, (0.2, 0.4))
    return Evaluation(
        key_id="0123456789abcdef",
        viability=Viability(Proportion(98, 100), Proportion(99, 100)),
        reconstruction={
            "pgd": Reconstruction(cosine, Estimate(0.1, (0.0, 0.2)), Estimate(math.nan, (math.nan, math.nan)), 40)
        },
        detection=Detection(
            detector="key",
            key_specific=True,
            max_fpr=0.05,
            rates=rates(36),
            wrong_key=rates(2.5),
            wrong_keys=tuple(rates(count) for count in (2, 3)),
            no_honeypot=rates(4),
            transfer=rates(1),
            corruptions={"blur": Corruption(Proportion(3, 100), Proportion(97, 100))},
        ),
        examples={"pgd": (Example(3, 8, True, CLEAN, ADVERSARIAL),)},
        baselines={"trapdoor": BaselineDetection(False, rates(20), rates(4), rates(2))},
    )


@pytest.fixture
def document(evaluation):
    return report.make(evaluation, {"dataset": "made", "seed": 0})


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


def test_examples_are_pictures(document):
    """The difference is drawn about grey, as strong as the amplification says."""
    (example,) = document["examples"]["pgd"]
    clean, adversarial, difference = (
        tf.io.decode_png(base64.b64decode(example[name])).numpy() / 255
        for name in ("clean", "adversarial", "difference")
    )
    assert np.allclose(clean, CLEAN, atol=1 / 255)
    assert np.allclose(adversarial, ADVERSARIAL, atol=1 / 255)
    assert example["amplification"] == pytest.approx(5)
    assert np.allclose(difference, 0.5 + 5 * (ADVERSARIAL - CLEAN), atol=1 / 255)
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
def test_exceeding_means_both_controls(wrong_keys, no_honeypot, exceeds):
    """All of 36 of 40 detected: [77 %, 96 %]."""
    arms = tuple(rates(count) for count in wrong_keys)
    detection = Detection(
        "key", True, 0.05, rates(36), rates(sum(wrong_keys) / 3), arms, rates(no_honeypot), rates(1), {}
    )
    assert detection.exceeds_controls is exceeds
