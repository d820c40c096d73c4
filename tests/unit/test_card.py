"""The model card as data: the report's figures, each beside its controls."""

import json

import pytest

import honeykeras as hk


@pytest.fixture
def document(evaluation):
    return json.loads(json.dumps(hk.report.make(evaluation, {"dataset": "digits"})))


@pytest.fixture
def metrics(document):
    card = json.loads(json.dumps(hk.report.model_card_json(document), allow_nan=False))
    found = card["quantitative_analysis"]["performance_metrics"]
    assert len({(metric["type"], metric["slice"]) for metric in found}) == len(found)
    return found


def of(metrics, kind, *words):
    (found,) = [each for each in metrics if each["type"] == kind and all(word in each["slice"] for word in words)]
    return found


def test_each_detection_rate_has_its_interval_and_its_controls(metrics, document):
    detection = document["detection"]
    for words, expected in (
        (("with the key",), detection),
        (("wrong keys",), detection["controls"]["wrong_key"]),
        (("no honeypot", "control"), detection["controls"]["no_honeypot"]),
    ):
        rate, attack = of(metrics, "true_positive_rate", *words), expected["attacks"]["pgd"]
        assert rate["value"] == attack["true_positive_rate"]
        assert list(rate["confidence_interval"].values()) == attack["interval"]
        assert f"of {attack['n']}" in rate["slice"]
        false = of(metrics, "false_positive_rate", *words)
        assert false["value"] == expected["false_positive_rate"]
        assert list(false["confidence_interval"].values()) == expected["false_positive_rate_interval"]
        assert f"{expected['n_clean']} clean images" in false["slice"]
        assert of(metrics, "attack_success_rate", *words)["value"] == attack["attack_success_rate"]


def test_accuracy_has_its_control(metrics, document):
    values = {each["slice"]: each["value"] for each in metrics if each["type"] == "accuracy"}
    viability = document["viability"]
    assert values == {
        "clean images": viability["clean_accuracy"],
        "clean images; control: no honeypot": viability["baseline_clean_accuracy"],
    }


def test_what_could_not_be_measured_is_null(document):
    rate = document["detection"]["controls"]["wrong_key"]["attacks"]["pgd"]
    rate["true_positive_rate"] = rate["interval"] = None
    card = hk.report.model_card_json(document)
    found = of(card["quantitative_analysis"]["performance_metrics"], "true_positive_rate", "wrong keys")
    assert found["value"] is None
    assert found["confidence_interval"] == {"lower_bound": None, "upper_bound": None}


def test_says_what_is_shown_and_what_limits_there_are(document):
    card = hk.report.model_card_json(document)
    assert document["key_id"] in card["model_details"]["overview"]
    assert card["considerations"]["limitations"]
    assert card["model_parameters"]["data"] == [{"name": "digits"}]


def test_clients_have_a_table_of_their_own(document, full_evaluation):
    assert "what a client sends" not in hk.report.model_card(document)
    card = hk.report.model_card(hk.report.make(full_evaluation, {"dataset": "digits"}))
    assert "| pgd one in 10 | 88.9 % | 30 | 0.0 % | n/a |" in card
    assert "| clean | 0.0 % |  | 0.0 % | 0.0 % |" in card
