"""The command line, run as a user would, on the digits."""

import json
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.cli.main import cli, run
from honeykeras.cli.quickstart import WRITTEN as QUICKSTART
from honeykeras.errors import StorageError

# Of the paper's recipe, which trains no extractor; CI runs the default one by the README's command.
QUICK = ["--recipe", "paper", "--epochs", "10", "--verbose", "0"]
QUICKEST = ["--recipe", "paper", "--epochs", "1", "--samples", "50", "--verbose", "0"]
COMMANDS = [
    "keygen",
    "check",
    "train",
    "attack",
    "detector",
    "evaluate",
    "report",
    "export",
    "verify",
    "inspect",
    "quickstart",
]


pytestmark = pytest.mark.usefixtures("extractors_of_few_steps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def key_path(folder):
    assert run(["keygen", str(folder / "k.key"), "--input-shape", "8,8,1", "--num-classes", "10"]) == 0
    return folder / "k.key"


@pytest.fixture(scope="module")
def trained(folder, key_path):
    arguments = ["--key", str(key_path), "--epochs", "8", "--output", str(folder / "trained"), "--verbose", "0"]
    assert run(["train", *arguments]) == 0
    return folder / "trained"


@pytest.fixture(scope="module")
def quickstart(folder):
    assert run(["quickstart", "--output", str(folder / "run"), *QUICK]) == 0
    return folder / "run"


@pytest.fixture
def judge(monkeypatch, full_evaluation):
    """What evaluations are asked for. None is made, which takes a minute: `test_evaluation` and its neighbours do."""
    asked = []

    def evaluate(model, key, data, **how):
        asked.append({"model": model, "key": key, "data": data, **how})
        return full_evaluation

    monkeypatch.setattr("honeykeras.evaluation.evaluate", evaluate)
    return asked


def fails(capsys, arguments):
    """Runs a command that must fail on a mistake; returns its one line, which a training's warning may precede."""
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines(keepends=True)
    error = "".join(line for line in lines if "was planted that attacks draw" not in line)
    assert error.count("\n") == 1
    assert error.startswith("honeykeras: error: ")
    assert "Traceback" not in error
    return error


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help_with_an_example(self, capsys, command):
        assert run([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"Example:\n    honeykeras {command} " in text
        assert text.splitlines()[2].strip()

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_is_explained(self, command):
        for parameter in cli.commands[command].params:
            assert parameter.param_type_name == "argument" or parameter.help, parameter.name

    def test_program_lists_its_commands(self, capsys):
        assert run(["--help"]) == 0
        text = capsys.readouterr().out
        assert all(f"\n  {command} " in text for command in COMMANDS)

    def test_version(self, capsys):
        assert run(["--version"]) == 0
        assert capsys.readouterr().out == f"honeykeras, version {hk.__version__}\n"

    def test_nothing_shows_help(self, capsys):
        assert run([]) == 2
        assert "Commands:" in capsys.readouterr().err


class TestQuickstart:
    def test_leaves_what_it_says(self, quickstart):
        assert sorted(os.listdir(quickstart)) == sorted(QUICKSTART)
        assert sorted(os.listdir(quickstart / "serving" / "digits")) == ["1", "1.sig"]

    def test_key_is_private_and_of_the_report(self, quickstart):
        key = hk.WatermarkKey.load(quickstart / "watermark.key")
        assert key.key_id == json.loads((quickstart / "report.json").read_text())["key_id"]

    def test_detector_is_one_everywhere(self, quickstart, tmp_path, capsys):
        """Judged, kept and served; and again, when the folder's files are judged and exported anew."""
        key, model, detector = (str(quickstart / name) for name in ("watermark.key", "model.keras", "detector.hk"))
        judging = ["--model", model, "--baseline", str(quickstart / "baseline.keras"), "--key", key, "--verbose", "0"]
        report = ["--samples", "20", "--steps", "5", "--output", str(tmp_path / "again.json")]
        assert run(["evaluate", *judging, "--detector", detector, *report]) == 0
        sealing = ["--sealing-key", str(tmp_path / "model.key"), "--output", str(tmp_path / "m")]
        assert run(["export", "--model", model, "--detector", detector, *sealing]) == 0
        trust = ["--unsigned", *sealing[:2], "--report", str(tmp_path / "again.json")]
        assert run(["verify", str(tmp_path / "m" / "1"), *trust]) == 0
        reports = (json.loads(path.read_text()) for path in (quickstart / "report.json", tmp_path / "again.json"))
        ids = {report["detection"]["detector_id"] for report in reports}
        ids.add(hk.detection.load(detector, hk.models.load(model)).detector_id)
        for version in (quickstart / "serving" / "digits" / "1", tmp_path / "m" / "1"):
            ids.add(json.loads((version / "manifest.json").read_text())["build_id"])
        assert len(ids) == 1
        assert None not in ids

    def test_report_is_complete(self, quickstart):
        report = json.loads((quickstart / "report.json").read_text())
        jsonschema.validate(report, hk.report.schema())
        assert report["viability"]["clean_accuracy"] > 0.6
        assert report["viability"]["baseline_clean_accuracy"] > 0.8
        assert report["detection"]["attacks"]["pgd"]["attack_success_rate"] > 0.9
        assert report["settings"]["recipe"] == hk.recipes.PAPER.get_config()
        assert (report["settings"]["epochs"], report["settings"]["seed"]) == (10, 0)

    def test_served_model_is_the_trained_one(self, quickstart, digits):
        served = tf.saved_model.load(str(quickstart / "serving" / "digits-public" / "1")).signatures["serving_default"]
        logits = hk.models.load(quickstart / "model.keras").predict(digits.test.x, verbose=0)
        found = served(inputs=tf.constant(digits.test.x))["probabilities"]
        assert np.allclose(found, tf.nn.softmax(logits), atol=1e-6)

    def test_page_is_the_report(self, quickstart):
        """The page beside the document is what the command makes of it again, and shows no watermark."""
        page = (quickstart / "report.html").read_text()
        assert page == hk.report.render(hk.report.read(quickstart / "report.json"))
        assert "Not shown: it is secret." in page

    def test_second_run_destroys_nothing(self, quickstart, capsys):
        before = {path: path.read_bytes() for path in quickstart.rglob("*") if path.is_file()}
        assert "already exists" in fails(capsys, ["quickstart", "--output", quickstart])
        assert {path: path.read_bytes() for path in quickstart.rglob("*") if path.is_file()} == before

    def test_overwriting_replaces_the_whole(self, judge, folder, capsys):
        output = folder / "again"
        output.mkdir()
        (output / "report.json").write_text("old")
        assert run(["quickstart", "--output", str(output), *QUICKEST, "--overwrite"]) == 0
        assert sorted(os.listdir(output)) == sorted(QUICKSTART)
        assert json.loads((output / "report.json").read_text())["schema_version"] == hk.report.SCHEMA_VERSION
        printed = capsys.readouterr().out
        for words in (
            "1/5  Loading digits",
            "honeypot",
            "wrong key",
            "no honeypot",
            "TPR",
            "FPR",
            "Wrote model.keras",
        ):
            assert words in printed

    def test_overwriting_loses_nothing_else(self, quickstart, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("honeykeras.data.load", lambda *args, **kwargs: pytest.fail("work was begun"))
        (tmp_path / "thesis.tex").write_text("precious")
        assert "thesis.tex for one" in fails(capsys, ["quickstart", "--output", tmp_path, "--overwrite"])
        key = quickstart / "watermark.key"
        arguments = ["--key", key, "--output", key, "--overwrite"]
        assert "is a file and is not replaced by a folder" in fails(capsys, ["train", *arguments])
        assert hk.WatermarkKey.load(key)

    def test_run_that_fails_at_the_end_leaves_nothing(self, judge, tmp_path, capsys, monkeypatch):
        def fail(*args, **kwargs):
            raise StorageError("Cannot write: No space left on device.")

        monkeypatch.setattr("honeykeras.export.archive.save", fail)
        assert "No space left" in fails(capsys, ["quickstart", "--output", tmp_path / "run", *QUICKEST])
        assert os.listdir(tmp_path) == []

    def test_what_cannot_be_calibrated_is_told_before_the_training(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("honeykeras.training.train", lambda *args, **kwargs: pytest.fail("it was trained"))
        error = fails(capsys, ["quickstart", "--output", tmp_path / "run", "--max-fpr", "1e-4"])
        assert "must be calibrated on at least 9999 clean inputs. Received: 300" in error
        assert os.listdir(tmp_path) == []


class TestSteps:
    """Each command on files that the others wrote."""

    def test_keygen(self, key_path):
        key = hk.WatermarkKey.load(key_path)
        assert (key.input_shape, key.num_classes, key.pattern) == ((8, 8, 1), 10, hk.patterns.Blocks(1))

    def test_keygen_options(self, tmp_path):
        (tmp_path / "words").write_text("correct horse\n")
        (tmp_path / "words").chmod(0o600)
        options = [
            "--input-range=-1,1",
            "--pattern",
            "scattered",
            "--watermark-size",
            "0.5",
            "--signed",
            "--passphrase-file",
            str(tmp_path / "words"),
        ]
        assert run(["keygen", str(tmp_path / "k"), "--input-shape", "30", "--num-classes", "2", *options]) == 0
        key = hk.WatermarkKey.load(tmp_path / "k", "correct horse")
        assert (key.input_shape, key.input_range, key.pattern) == (
            (30,),
            hk.InputRange(-1, 1),
            hk.patterns.Scattered(0.5, True),
        )

    def test_train(self, trained):
        assert sorted(os.listdir(trained)) == ["baseline.keras", "model.keras", "training.json"]
        document = json.loads((trained / "training.json").read_text())
        assert len(document["history"]["watermark_similarity"]) == 8
        assert document["settings"]["recipe"]["name"] == "balanced"
        assert hk.models.has_branch(hk.models.load(trained / "model.keras"))

    def test_train_with_a_changed_recipe(self, key_path, tmp_path):
        changes = ["--poison-rate", "0.1", "--amplitude", "0.5"]
        arguments = ["--key", str(key_path), "--epochs", "1", "--output", str(tmp_path / "t"), "--verbose", "0"]
        assert run(["train", *arguments, *changes]) == 0
        settings = json.loads((tmp_path / "t" / "training.json").read_text())["settings"]
        assert settings["recipe"] == {
            **hk.recipes.BALANCED.get_config(),
            "name": "balanced, changed",
            "poison_rate": 0.1,
            "amplitude": 0.5,
        }

    @pytest.mark.parametrize(
        ("settings", "config"),
        [
            ([], {"epsilon": 0.3, "steps": 40, "norm": "inf"}),
            (["--norm", "2", "--epsilon", "1.5", "--restarts", "2", "--early-stop"], {"norm": "2", "epsilon": 1.5}),
            (
                ["--attack", "cw", "--confidence", "1", "--max-iterations", "200"],
                {"confidence": 1, "abort_early": True},
            ),
            (["--attack", "jsma", "--theta", "0.5", "--search", "top2"], {"theta": 0.5, "search": "top2"}),
            (["--target", "3"], {"targeted": True}),
        ],
    )
    def test_attack(self, trained, tmp_path, capsys, settings, config):
        arguments = [
            "--model",
            trained / "model.keras",
            "--samples",
            "20",
            "--output",
            tmp_path / "x",
            "--verbose",
            "0",
        ]
        assert run(["attack", *map(str, arguments), *settings]) == 0
        shards = hk.attacks.Shards.open(tmp_path / "x")
        assert config.items() <= shards.settings["config"].items()
        examples = shards.load()
        predicted = hk.models.load(trained / "model.keras").predict(examples.x_adv, verbose=0).argmax(axis=1)
        assert np.array_equal((predicted == examples.y) == examples.targeted, examples.success)
        assert set(examples.y[examples.success]) == {3} if examples.targeted else examples.success.any()
        assert np.array_equal(examples.x_adv, hk.attacks.quantize(examples.x_adv))
        what = "made the model say 3" if examples.targeted else "fooled the model"
        assert f"{what} on {examples.success.sum()} of {len(examples)} images" in capsys.readouterr().out

    def test_attack_on_a_saved_model_equals_the_attack_on_its_keras_file(self, trained, tmp_path):
        assert run(["export", "--model", str(trained / "model.keras"), "--output", str(tmp_path / "serving")]) == 0
        found = []
        for model in (trained / "model.keras", tmp_path / "serving" / "1"):
            output = tmp_path / f"from-{model.name}"
            arguments = ["--model", model, "--attack", "jsma", "--samples", "20", "--output", output, "--verbose", "0"]
            assert run(["attack", *map(str, arguments)]) == 0
            found.append(hk.attacks.Shards.open(output).load())
        assert np.array_equal(found[0].x_adv, found[1].x_adv)
        assert found[0].success.any()

    def test_attack_goes_on_where_it_was(self, trained, tmp_path):
        arguments = ["--model", trained / "model.keras", "--samples", "20", "--shard-size", "8", "--verbose", "0"]
        arguments = ["attack", *map(str, arguments), "--format", "tfrecord", "--output", str(tmp_path / "x")]
        assert run(arguments) == 0
        before = hk.attacks.Shards.open(tmp_path / "x").load()
        (tmp_path / "x" / "shard-00001.tfrecord").unlink()
        kept = (tmp_path / "x" / "shard-00000.tfrecord").stat().st_mtime_ns
        assert run(arguments) == 0
        assert (tmp_path / "x" / "shard-00000.tfrecord").stat().st_mtime_ns == kept
        assert np.array_equal(hk.attacks.Shards.open(tmp_path / "x").load().x_adv, before.x_adv)

    def test_attack_with_a_mask(self, trained, tmp_path):
        mask = np.zeros((8, 8, 1), bool)
        mask[2:6] = True
        np.save(tmp_path / "mask.npy", mask)
        arguments = ["--model", trained / "model.keras", "--samples", "9", "--mask", tmp_path / "mask.npy"]
        assert run(["attack", *map(str, arguments), "--output", str(tmp_path / "x"), "--verbose", "0"]) == 0
        delta = hk.attacks.Shards.open(tmp_path / "x").load().delta
        assert (delta[:, ~mask] == 0).all()
        assert (delta[:, mask] != 0).any()

    def test_detector_is_calibrated_anew_on_fresh_data(self, quickstart, digits, tmp_path, capsys):
        fresh = np.rot90(digits.test.x, axes=(1, 2))
        np.savez(tmp_path / "fresh.npz", x=fresh, y=digits.test.y)
        given = ["--detector", str(quickstart / "detector.hk"), "--model", str(quickstart / "model.keras")]
        given += ["--verbose", "0", "--output", str(tmp_path / "new.hk"), "--max-fpr", "0.05"]
        command = ["detector", "calibrate", *given, "--dataset"]
        assert run([*command, str(tmp_path / "fresh.npz")]) == 0
        assert f"calibrated on {len(fresh)} inputs" in capsys.readouterr().out
        model = hk.models.load(quickstart / "model.keras")
        old, new = (hk.detection.load(path, model) for path in (quickstart / "detector.hk", tmp_path / "new.hk"))
        assert np.mean(new.flag(fresh)) == pytest.approx(0.05, abs=0.01)
        assert new.detector_id != old.detector_id
        assert np.array_equal(new.secret, old.secret)
        assert "already exists" in fails(capsys, [*command, str(tmp_path / "fresh.npz")])
        assert "Received: digits, which the model was trained on" in fails(capsys, [*command, "digits", "--overwrite"])
        few = [*command, str(tmp_path / "fresh.npz"), "--overwrite", "--max-fpr", "0.0001"]
        assert "must be calibrated on at least 9999 clean inputs" in fails(capsys, few)
        assert hk.detection.load(tmp_path / "new.hk", model).detector_id == new.detector_id

    def test_evaluate(self, judge, trained, key_path, tmp_path, capsys, full_evaluation):
        models = ["--model", trained / "model.keras", "--baseline", trained / "baseline.keras", "--key", key_path]
        report, page = tmp_path / "report.json", tmp_path / "report.html"
        arguments = [*models, "--samples", 100, "--output", report, "--verbose", 0]
        command = ["evaluate", *map(str, arguments)]
        assert run(command) == 0
        (asked,) = judge
        assert (asked["detector"], asked["max_fpr"], asked["samples"], asked["clients"]) == (None, None, 100, 0)
        assert (asked["security"], asked["yardstick"], asked["adversarial"]) == (False, None, None)
        assert [attack.name for attack in asked["attacks"]] == ["pgd"]
        assert asked["attacks"][0].epsilon == 0.3
        printed = capsys.readouterr().out
        assert "no honeypot" in printed
        assert "Who is accused" in printed
        assert "pgd one in 10" in printed
        assert " avoids perturbations of other " in printed, "a line is broken on a terminal of the usual width"
        document = json.loads(report.read_text())
        jsonschema.validate(document, hk.report.schema())
        assert document["key_id"] == full_evaluation.key_id
        assert (document["settings"]["samples"], document["settings"]["epochs"]) == (100, 8)
        assert page.read_text().startswith("<!doctype html>")
        assert "already exists" in fails(capsys, command)
        assert run([*command, "--overwrite"]) == 0

    @pytest.mark.parametrize(
        ("options", "asked_for"),
        [
            (
                "--security --kind full --max-fpr 0.05 --baseline-detector trapdoor --baseline-detector paper",
                {
                    "security": True,
                    "detector": "full",
                    "max_fpr": 0.05,
                    "baseline_detectors": ("trapdoor", "paper"),
                },
            ),
            ("--clients 2 --alpha 0.01", {"clients": 2, "alpha": 0.01}),
            ("--clients", {"clients": 50, "alpha": 0.001}),
        ],
    )
    def test_evaluate_as_asked_for(self, judge, trained, key_path, tmp_path, options, asked_for):
        models = ["--model", trained / "model.keras", "--baseline", trained / "baseline.keras", "--key", key_path]
        assert run(["evaluate", *map(str, models), "--output", str(tmp_path / "r.json"), *options.split()]) == 0
        assert asked_for.items() <= judge[0].items()

    def test_evaluate_with_several_attacks(self, judge, trained, key_path, tmp_path):
        models = ["--model", trained / "model.keras", "--baseline", trained / "baseline.keras", "--key", key_path]
        attacks = ["--attack", "pgd", "--attack", "cw", "--attack", "jsma", "--steps", "10", "--max-iterations", "60"]
        assert run(["evaluate", *map(str, models), *attacks, "--output", str(tmp_path / "report.json")]) == 0
        assert [attack.name for attack in judge[0]["attacks"]] == ["pgd", "cw", "jsma"]
        settings = json.loads((tmp_path / "report.json").read_text())["settings"]["attacks"]
        assert (settings["pgd"]["steps"], settings["cw"]["max_iterations"]) == (10, 60)

    def test_yardstick(self, judge, tmp_path, capsys):
        """What `train --yardstick --baseline adversarial` writes is what `evaluate` reads."""
        out, key = tmp_path / "three", str(tmp_path / "k")
        shape = ["--input-shape", "8,8,1", "--num-classes", "10", "--pattern", "scattered"]
        assert run(["keygen", key, *shape]) == 0
        given = ["--key", key, "--verbose", "0"]
        further = ["--recipe", "paper", "--no-branch", "--yardstick", "--baseline", "adversarial"]
        assert run(["train", *given, "--epochs", "1", *further, "--output", str(out)]) == 0
        written = "Wrote model.keras, baseline.keras, yardstick.keras, adversarial.keras, training.json"
        assert written in capsys.readouterr().out
        names = ("model", "baseline", "yardstick", "adversarial")
        models = [part for name in names for part in (f"--{name}", out / f"{name}.keras")]
        arguments = [*given, "--output", tmp_path / "report.json"]
        assert run(["evaluate", *map(str, [*models, *arguments])]) == 0
        for name in names:
            weights = hk.models.load(out / f"{name}.keras").get_weights()
            assert all(map(np.array_equal, judge[0][name].get_weights(), weights)), name
        models[-1] = out / "baseline.keras"
        assert "must be a third model" in fails(capsys, ["evaluate", *models, *arguments, "--overwrite"])

    def test_export(self, trained, tmp_path, capsys):
        arguments = ["export", "--model", str(trained / "model.keras"), "--output", str(tmp_path / "serving")]
        assert run(arguments) == 0
        assert run([*arguments, "--version", "7"]) == 0
        assert sorted(os.listdir(tmp_path / "serving")) == ["1", "7"]
        assert f"Wrote {tmp_path}/serving/7." in capsys.readouterr().out


class TestOtherRange:
    def test_every_step_follows_the_keys_range(self, tmp_path):
        """Of a model that takes bytes."""
        path = {name: str(tmp_path / name) for name in ("k", "t", "d", "r.json", "s", "m", "a")}
        model = ["--model", f"{path['t']}/model.keras"]
        shape = ["--input-shape", "8,8,1", "--num-classes", "10", "--input-range", "0,255"]
        assert run(["keygen", path["k"], *shape]) == 0
        assert run(["train", "--key", path["k"], "--epochs", "4", "--output", path["t"], "--verbose", "0"]) == 0
        kind = ["--kind", "trapdoor", "--max-fpr", "0.05", "--output", path["d"]]
        assert run(["detector", "fit", *model, "--key", path["k"], *kind]) == 0
        judged = ["--baseline", f"{path['t']}/baseline.keras", "--key", path["k"], "--detector", path["d"]]
        few = ["--samples", "20", "--steps", "5", "--verbose", "0"]
        assert run(["evaluate", *model, *judged, *few, "--output", path["r.json"]]) == 0
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["viability"]["baseline_clean_accuracy"] > 0.5
        assert report["settings"]["attacks"]["pgd"]["epsilon"] == pytest.approx(0.3 * 255)
        assert report["detection"]["attacks"]["pgd"]["attack_success_rate"] > 0.5
        sealed = ["--detector", path["d"], "--sealing-key", path["s"], "--output", path["m"]]
        assert run(["export", *model, *sealed]) == 0
        trust = ["--unsigned", "--sealing-key", path["s"], "--report", path["r.json"]]
        assert run(["verify", f"{path['m']}/1", *trust]) == 0
        assert run(["attack", *model, "--input-range", "0,255", *few, "--output", path["a"]]) == 0
        assert hk.attacks.Shards.open(path["a"]).load().x.max() > 200


class TestReport:
    def test_page_card_and_events(self, quickstart, tmp_path, capsys):
        cards = ["--model-card", "card.md", "--model-card", "card.json"]
        outputs = ["--output", "page.html", *cards, "--tensorboard", "logs"]
        arguments = [str(tmp_path / each) if "." in each or each == "logs" else each for each in outputs]
        assert run(["report", str(quickstart / "report.json"), *arguments]) == 0
        assert sorted(os.listdir(tmp_path)) == ["card.json", "card.md", "logs", "page.html"]
        assert (tmp_path / "page.html").read_text() == (quickstart / "report.html").read_text()
        assert (tmp_path / "card.md").read_text().startswith("# Model card")
        assert (tmp_path / "card.json").read_bytes() == (quickstart / "model_card.json").read_bytes()
        assert "Wrote " in capsys.readouterr().out

    def test_watermark_is_for_who_holds_the_key(self, quickstart, tmp_path):
        key = ["--key", str(quickstart / "watermark.key")]
        assert run(["report", str(quickstart / "report.json"), *key, "--output", str(tmp_path / "secret.html")]) == 0
        assert "This page shows the watermark" in (tmp_path / "secret.html").read_text()
        assert (tmp_path / "secret.html").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "Say what to write: `--output`, `--model-card` or `--tensorboard`"),
            (["--model-card", "card.md", "--key", "some.key"], "`--key` is for the page"),
            (["--output", "."], "already exists"),
        ],
    )
    def test_mistakes(self, quickstart, capsys, arguments, message):
        assert message in fails(capsys, ["report", quickstart / "report.json", *arguments])

    def test_key_of_another_report(self, quickstart, key_path, tmp_path, capsys):
        arguments = ["--key", key_path, "--output", tmp_path / "page.html"]
        assert "must be that of the report" in fails(capsys, ["report", quickstart / "report.json", *arguments])
        assert not os.listdir(tmp_path)

    def test_no_report(self, quickstart, tmp_path, capsys):
        arguments = ["report", quickstart / "training.json", "--output", tmp_path / "page.html"]
        assert "must be a report of schema version" in fails(capsys, arguments)


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["attack", "--model", "{key}", "--output", "{tmp}/x"], "must hold a Keras model"),
            (["attack", "--model", "{model}", "--output", "{key}/x"], "Cannot write"),
            (
                ["attack", "--model", "{model}", "--theta", "3", "--attack", "jsma", "--output", "{tmp}/x"],
                "`theta` must",
            ),
            (
                [
                    "attack",
                    "--model",
                    "{model}",
                    "--input-range",
                    "0,255",
                    "--theta",
                    "3",
                    "--attack",
                    "jsma",
                    "--output",
                    "{tmp}/x",
                    "--steps",
                    "3",
                ],
                "`--steps` is no setting of jsma",
            ),
            (["export", "--model", "{key}", "--output", "{tmp}/s"], "must hold a Keras model"),
        ],
    )
    def test_one_line_and_nothing_left(self, capsys, tmp_path, key_path, trained, arguments, message):
        """Of what is told once TensorFlow is loaded; `test_cli_quick` has all else."""
        places = {"tmp": tmp_path, "key": key_path, "model": trained / "model.keras"}
        assert message in fails(capsys, [argument.format(**places) for argument in arguments])
        assert os.listdir(tmp_path) == []

    def test_exposed_key(self, capsys, tmp_path, key_path):
        exposed = tmp_path / "exposed.key"
        exposed.write_bytes(key_path.read_bytes())
        exposed.chmod(0o644)
        assert "chmod 600" in fails(capsys, ["train", "--key", exposed, "--output", tmp_path / "x"])

    def test_another_datas_key(self, capsys, tmp_path):
        hk.WatermarkKey.generate((28, 28, 1), 10).save(tmp_path / "k")
        error = fails(capsys, ["train", "--key", tmp_path / "k", "--output", tmp_path / "t"])
        assert "The key must be for inputs of shape (8, 8, 1) in [0, 1] and 10 classes, as digits has" in error
        assert os.listdir(tmp_path) == ["k"]

    def judge(self, trained, key_path, output, **changes):
        arguments = {
            "model": trained / "model.keras",
            "baseline": trained / "baseline.keras",
            "key": key_path,
            "output": output,
        }
        return [
            "evaluate",
            *(word for name, value in {**arguments, **changes}.items() for word in (f"--{name}", value)),
        ]

    def test_models_are_judged_as_they_were_trained(self, capsys, tmp_path, trained, key_path):
        """Another seed would judge them on images that they were trained on."""
        error = fails(capsys, self.judge(trained, key_path, tmp_path / "r", seed=7))
        assert "the `seed` that it was trained with, 0. Received: 7" in error
        hk.WatermarkKey.generate((8, 8, 1), 10).save(tmp_path / "k")
        assert "the `key_id` that it was" in fails(capsys, self.judge(trained, tmp_path / "k", tmp_path / "r"))
        same = {"baseline": trained / "model.keras"}
        assert "baseline must be another model" in fails(capsys, self.judge(trained, key_path, tmp_path / "r", **same))
        (tmp_path / "training.json").write_text("{}")
        (tmp_path / "model.keras").write_bytes((trained / "model.keras").read_bytes())
        other = {"model": tmp_path / "model.keras"}
        assert "as `honeykeras train` writes it" in fails(
            capsys, self.judge(trained, key_path, tmp_path / "r", **other)
        )

    def test_unknown_provenance_is_a_warning(self, judge, capsys, tmp_path, trained, key_path):
        (tmp_path / "model.keras").write_bytes((trained / "model.keras").read_bytes())
        arguments = self.judge(
            trained, key_path, tmp_path / "r", model=tmp_path / "model.keras", samples=50, steps=5, verbose=0
        )
        assert run([str(argument) for argument in arguments]) == 0
        assert "honeykeras: warning: There is no training.json beside" in capsys.readouterr().err

    def test_passphrase_file_must_be_private_and_text(self, capsys, tmp_path):
        words = tmp_path / "words"
        arguments = ["keygen", tmp_path / "k", "--input-shape", "8", "--num-classes", "2", "--passphrase-file", words]
        words.write_bytes(b"p\xe4ss")
        words.chmod(0o600)
        error = fails(capsys, arguments)
        assert "must be text in UTF-8" in error
        assert "0xe4" not in error
        words.chmod(0o644)
        assert "must be readable by its owner alone" in fails(capsys, arguments)
        assert os.listdir(tmp_path) == ["words"]

    def test_interruption(self, capsys, monkeypatch):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr("honeykeras.data.load", interrupt)
        assert run(["quickstart", "--output", "never-made"]) == 130
        assert capsys.readouterr().err.strip() == "honeykeras: interrupted"
        assert not os.path.exists("never-made")


def test_terminated_program_cleans_up(tmp_path):
    """A key in a hidden folder would be a key that nobody misses."""
    arguments = ["quickstart", "--output", str(tmp_path / "run"), "--epochs", "1000", "--verbose", "2"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "honeykeras", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        for line in program.stdout:
            if line.startswith("Epoch 2/"):
                assert list(tmp_path.rglob("watermark.key"))
                program.terminate()
    assert program.returncode == 143
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["keygen", "{tmp}/k", "--input-shape", "8,8,1", "--num-classes", "10"],
        ["export", "signing-keys", "--private-key", "{tmp}/k", "--public-key", "{tmp}/k.pub"],
    ],
)
def test_program_is_quiet_about_tensorflow(tmp_path, arguments):
    """Nothing on stderr: no page of notices before a user sees anything."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        [sys.executable, "-m", "honeykeras", *(argument.format(tmp=tmp_path) for argument in arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith("Wrote ")
