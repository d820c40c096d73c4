"""Examples and benchmarks, run as one would, at their smallest size."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What it finds is told elsewhere.
pytestmark = pytest.mark.usefixtures("extractors_of_few_steps")


def test_ten_lines(run_program, tmp_path):
    said = run_program("examples/ten_lines.py", "out", 1)
    assert "of the attacks flagged" in said
    assert "control, no honeypot" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"watermark.key", "detector.hk", "serving"}


def test_paper(run_program, tmp_path):
    sweep = ["--sweep-vary", "amplitude", "--sweep-train-samples", 200, "--sweep-samples", 10]
    options = ["--recipes", "paper", "--epochs", 1, "--samples", 10, "--attacks", "pgd", "--steps", 2, *sweep]
    options += ["--output", "paper"]
    run_program("examples/paper/run.py", "digits", *options)
    assert list((tmp_path / "paper").rglob("*.html"))


def test_poisoning_cost(run_program):
    options = ["--dataset", "digits", "--rounds", 1, "--batches", 2]
    said = run_program("tests/bench/poisoning_cost.py", *options)
    assert "batched, then poisoned" in said


def test_planting_cost(run_program):
    said = run_program("tests/bench/planting_cost.py", "--dataset", "digits", "--rounds", 1, "--batches", 2)
    assert "adversarial training" in said


def test_extractor(run_program):
    options = ["digits", "--epochs", 1, "--train-samples", 200, "--steps", 1, "--samples", 5, "--rounds", 1]
    said = run_program("tests/bench/extractor.py", *options)
    assert said.count("\n   0 ") == 2


def test_evidence(run_program):
    options = ["digits", "--epochs", 1, "--keys", 40, "--queries", 200, "--rounds", 5]
    said = run_program("tests/bench/evidence.py", *options)
    assert said.count(" 0 accused") == 16
    assert "a ledger takes" in said


def test_gateway(run_program):
    said = run_program("tests/bench/gateway.py", "--rounds", 1, "--clients", 4)
    assert "requests a second" in said
    assert "writing JSON" in said


def test_audit(run_program):
    options = ["--queries", 200, "--images", 20, "--rounds", 1, "--workers", "--memory", 100]
    said = run_program("tests/bench/audit.py", *options)
    assert "audit, in this process" in said
    assert "attack, Beam in this process" in said
    assert "MiB at most" in said


def test_at_scale(run_program):
    said = run_program("examples/at_scale/plan.py", "--simulated", 1000, "--queries", 1000)
    assert "alpha 0.001: 0 accused, 1 allowed" in said
    assert "CIFAR-10, 768 dimensions:     1 queries" in said


def test_indistinguishability(run_program):
    options = ["--rounds", 1, "--images", 120, "--subsamples", 10]
    said = run_program("tests/bench/indistinguishability.py", *options)
    assert "greatest difference" in said


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_serving(run_program):
    options = ["--rounds", 10, "--only", "small CNN, 28 x 28 x 1, detector paper"]
    said = run_program("tests/bench/serving.py", *options)
    assert "batch 64: plain" in said


def test_models(run_program, tmp_path):
    options = ["table", "--images", 100, "--epochs", 1, "--samples", 5, "--output", "record"]
    run_program("examples/models/measure.py", *options)
    run_program("examples/models/table.py", "--records", "record", "--output", "table.md")
    heading, _, row = (tmp_path / "table.md").read_text().splitlines()
    assert heading.count("|") == row.count("|")
    assert row.startswith("| perceptron, a table | 30 | no | 100 | 1 |")


def test_table_of_models_is_that_of_the_records(run_program, tmp_path):
    run_program("examples/models/table.py", "--output", tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text()
    assert len(table.splitlines()) > 2
    assert table in (ROOT / "docs" / "models.md").read_text()


def test_tables_of_measurements_are_those_of_the_records(run_program, tmp_path):
    run_program("examples/paper/tables.py", "--output", tmp_path / "tables.md")
    names = ("README.md", "docs/detection.md", "docs/evidence.md", "docs/planting.md")
    pages = [(ROOT / name).read_text() for name in names]
    tables = (tmp_path / "tables.md").read_text().split("\n\n")
    assert len(tables) == 13
    for table in tables:
        assert len(table.splitlines()) > 5
        assert any(table.strip() in page for page in pages)
