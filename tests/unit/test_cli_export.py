"""The commands around artifacts, as typed."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import export
from honeykeras.cli.main import run
from honeykeras.errors import InvalidArgumentError, StorageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A key, a model, a detector, and the model exported for the trusted host."""
    folder = tmp_path_factory.mktemp("artifacts")
    assert run(["keygen", str(folder / "k.key"), "--input-shape", "8,8,1", "--num-classes", "10"]) == 0
    arguments = ["--key", folder / "k.key", "--epochs", "2", "--output", folder / "trained", "--verbose", "0"]
    assert run(["train", *map(str, arguments)]) == 0
    model = ["--model", folder / "trained" / "model.keras", "--key", folder / "k.key"]
    # A kind that trains no extractor, and needs no attacks.
    kind = ["--kind", "trapdoor", "--max-fpr", "0.05", "--output", folder / "detector.hk"]
    assert run(["detector", "fit", *map(str, [*model, *kind])]) == 0
    assert run(guarded(folder, folder / "serving" / "digits", "--policy", "reject")) == 0
    return folder


def guarded(folder, output, *more):
    arguments = ["--model", folder / "trained" / "model.keras", "--detector", folder / "detector.hk"]
    return ["export", *map(str, [*arguments, "--output", output, "--sealing-key", folder / "model.key"]), *more]


@pytest.fixture
def version(folder):
    return str(folder / "serving" / "digits" / "1")


def fails(capsys, arguments):
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def fails_at_last(capsys, arguments):
    """The same, of what warns before."""
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


SIGNATURE = """
import tensorflow as tf

def bytes_in(classify):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8)])
    def serve(pixels):
        return {"scores": classify(tf.cast(pixels, tf.float32) / 255)}
    return {"serving_default": serve}
"""


class TestSignatures:
    def inputs(self, version):
        function = tf.saved_model.load(str(version)).signatures["serving_default"]
        return {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}

    def test_own(self, folder, tmp_path, monkeypatch, digits):
        (tmp_path / "mine.py").write_text(SIGNATURE)
        monkeypatch.chdir(tmp_path)
        assert run(guarded(folder, folder / "serving" / "own", "--signature", "mine.py:bytes_in")) == 0
        assert self.inputs(folder / "serving" / "own" / "1") == {"pixels": tf.uint8}

    def test_kept_of_a_saved_model_by_default(self, folder, tmp_path):
        model = hk.models.load(folder / "trained" / "model.keras")
        model.export(str(tmp_path / "plain"), verbose=False)
        for options, names in (
            ([], self.inputs(tmp_path / "plain")),
            (["--standard-signature"], {"inputs": tf.float32}),
        ):
            output = tmp_path / f"m{len(options)}"
            assert run(["export", "--model", str(tmp_path / "plain"), "--output", str(output), *options]) == 0
            assert self.inputs(output / "1") == names
        again = ["export", "--model", str(tmp_path / "m1" / "1"), "--output", str(tmp_path / "again")]
        assert run(again) == 0
        assert self.inputs(tmp_path / "again" / "1") == {"inputs": tf.float32}

    def test_kept_of_a_keras_model_where_asked_for(self, folder, tmp_path):
        model = ["--model", str(folder / "trained" / "model.keras"), "--output", str(tmp_path / "m")]
        assert run(["export", *model, "--keep-signature"]) == 0
        assert self.inputs(tmp_path / "m" / "1") != {"inputs": tf.float32}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--signature", "mine"], "`--signature` must be file.py:function or package.module:function"),
            (["--signature", "a.py:f", "--keep-signature"], "without `--keep-signature`"),
            (["--signature", "none.py:f"], "`signature` must be a function that can be loaded"),
        ],
    )
    def test_bad(self, folder, tmp_path, capsys, options, message):
        assert message in fails(capsys, guarded(folder, tmp_path / "m", *options))
        assert not (tmp_path / "m").exists()


class TestRecalibrating:
    @pytest.fixture
    def calibrated(self, folder, digits, tmp_path):
        """The detector of the artifact, with the threshold of other data."""
        np.savez(tmp_path / "fresh.npz", x=np.rot90(digits.test.x, axes=(1, 2)), y=digits.test.y)
        given = ["--detector", folder / "detector.hk", "--model", folder / "trained" / "model.keras"]
        given += ["--dataset", tmp_path / "fresh.npz", "--max-fpr", "0.2", "--output", tmp_path / "new.hk"]
        assert run(["detector", "calibrate", *map(str, given), "--verbose", "0"]) == 0
        return tmp_path / "new.hk"

    def test_puts_the_threshold_into_the_next_version(self, folder, calibrated, digits, tmp_path):
        model = hk.models.load(folder / "trained" / "model.keras")
        shutil.copytree(folder / "serving" / "digits", tmp_path / "serving" / "digits")
        shutil.copy(folder / "model.key", tmp_path / "model.key")
        key = ["--sealing-key", str(tmp_path / "model.key"), "--unsigned"]
        command = ["export", "recalibrate", str(tmp_path / "serving" / "digits" / "1"), *key]
        assert run([*command, "--detector", str(calibrated)]) == 0
        detector = hk.detection.load(calibrated, model)
        x = np.concatenate([digits.test.x, np.rot90(digits.test.x, axes=(1, 2))])
        loaded = tf.saved_model.load(str(tmp_path / "serving" / "digits" / "2"))
        flagged = loaded.signatures["extended"](inputs=tf.constant(x))["flag"].numpy()
        # The threshold is a hair above the score of one of these, which rounding decides.
        sure = np.abs(detector.score(x) - detector.threshold) > 1e-4 * max(1, abs(detector.threshold))
        assert sure.mean() > 0.99
        assert np.array_equal(flagged[sure], detector.flag(x)[sure])
        old = hk.detection.load(folder / "detector.hk", model)
        assert not np.array_equal(flagged, old.flag(x))
        assert export.inspect(tmp_path / "serving" / "digits" / "2")["build_id"] == detector.detector_id
        assert export.inspect(tmp_path / "serving" / "digits" / "1")["build_id"] == old.detector_id

    def test_another_detector_is_refused(self, folder, version, digits, tmp_path, capsys):
        model = hk.models.load(folder / "trained" / "model.keras")
        other = hk.detection.KINDS["trapdoor"](hk.WatermarkKey(bytes(32), (8, 8, 1), 10))
        other.fit(model, digits.detector.x).calibrate(digits.calibration.x, 0.1).save(tmp_path / "other.hk")
        trust = ["--sealing-key", folder / "model.key", "--unsigned"]
        error = fails(capsys, ["export", "recalibrate", version, "--detector", tmp_path / "other.hk", *trust])
        assert "must be the one in" in error
        assert os.listdir(folder / "serving" / "digits") == ["1"]


@pytest.mark.usefixtures("extractors_of_few_steps")
class TestEvidence:
    def test_of_the_data_trained_on_what_was_kept_from_it(self, folder, digits, tmp_path):
        # A kind that looks with an extractor.
        observing = tmp_path / "observing.hk"
        given = ["--model", folder / "trained" / "model.keras", "--key", folder / "k.key", "--max-fpr", "0.05"]
        assert run(["detector", "fit", *map(str, [*given, "--output", observing])]) == 0
        given = ["--model", folder / "trained" / "model.keras", "--detector", observing, "--evidence", "digits"]
        given += ["--sealing-key", tmp_path / "model.key", "--output", tmp_path / "serving" / "m"]
        assert run(["export", *map(str, given)]) == 0
        model = hk.models.load(folder / "trained" / "model.keras")
        loaded = tf.saved_model.load(str(tmp_path / "serving" / "m" / "1"))
        told = loaded.signatures["extended_evidence"](inputs=tf.constant(digits.test.x))
        observer = hk.evidence.Observer(hk.detection.load(observing, model), digits.calibration.x)
        assert np.allclose(told["evidence_views"], observer.observe(digits.test.x).views, atol=1e-3)
        assert hk.evidence.Rules.of_answers(told).margin == pytest.approx(observer.rules.margin, rel=1e-4)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--evidence", "none.npz"], "none.npz"),
            (["--evidence", "digits"], "a fitted detector that has an extractor"),
        ],
    )
    def test_bad(self, folder, tmp_path, capsys, options, message):
        assert message in fails_at_last(capsys, guarded(folder, tmp_path / "m", *options))
        assert not (tmp_path / "m").exists()

    def test_is_for_a_detector(self, folder, tmp_path, capsys):
        model = ["--model", folder / "trained" / "model.keras", "--output", tmp_path / "m"]
        assert "`--evidence` is for a detector" in fails(capsys, ["export", *model, "--evidence", "digits"])


class TestExport:
    def test_with_a_detector_opens_for_the_key_beside_serving(self, folder, version):
        loaded = tf.saved_model.load(version)
        assert set(loaded.signatures) == {
            "serving_default",
            "predict_images",
            "classify",
            "extended",
            "extended_predict_images",
            "extended_classify",
        }
        assert (folder / "model.key").stat().st_mode & 0o777 == 0o600

    def test_takes_the_sealing_key_that_is_there(self, folder, tmp_path, capsys):
        before = (folder / "model.key").read_bytes()
        assert run(guarded(folder, tmp_path / "m", "--key-path", "/run/secrets/other.key", "--policy", "decoy")) == 0
        assert (folder / "model.key").read_bytes() == before
        assert export.SealingKey.load(folder / "model.key").key_id in capsys.readouterr().out
        assert export.inspect(tmp_path / "m" / "1")["key_paths"] == ["/run/secrets/other.key"]

    def test_class_names(self, folder, tmp_path):
        names = "zero,one,two,three,four,five,six,seven,eight,nine"
        arguments = ["--model", folder / "trained" / "model.keras", "--output", tmp_path / "m", "--class-names", names]
        assert run(["export", *map(str, arguments)]) == 0
        example = tf.train.Example()
        example.features.feature["inputs"].float_list.value.extend([0.0] * 64)
        loaded = tf.saved_model.load(str(tmp_path / "m" / "1"))
        answer = loaded.signatures["classify"](inputs=tf.constant([example.SerializeToString()]))
        assert b",".join(answer["classes"].numpy()[0]).decode() == names

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (["--policy", "nan"], "'nan' is not one of 'mislead', 'observe', 'decoy', 'uniform', 'reject'"),
            (["--sealing-key", "{folder}/k.key"], "must hold a sealing key"),
            (["--output", "{tmp}/honeypot"], "The name of a model's folder must not tell"),
            (["--input-range", "0,1"], "`--input-range` is for an artifact without a detector"),
            (["--output", "{folder}/serving/digits", "--version", "1"], "already exists"),
            (["--detector", "none"], "Cannot read the detector file"),
            (["--detector", "{folder}/k.key"], "is not a honeykeras detector file"),
            (["--model", "{folder}/trained/baseline.keras"], "with the model that it was fitted for"),
            (["--model", "{tmp}/none.keras"], "no such file"),
            (["--class-names", "a,b"], "`class_names` must be 10 names"),
            (["--key-path", "/run/*"], "without wildcards"),
            (["--output", "{folder}/k.key"], "k.key"),
            (["--passphrase-file", "{folder}/model.key"], "has no passphrase, but one was given"),
        ],
    )
    def test_mistakes_are_one_line_and_leave_nothing(self, folder, tmp_path, capsys, change, message):
        places = {"tmp": tmp_path, "folder": folder}
        change = [word.format(**places) for word in change]
        arguments = guarded(folder, tmp_path / "m", "--sealing-key", str(tmp_path / "new.key"), *change)
        assert message in fails(capsys, arguments)
        assert not (tmp_path / "new.key").exists()
        assert not list(tmp_path.glob("m/*"))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (["--version", "7"], "7 already exists"),
            (["--sealing-key", "{tmp}/no.key"], "must hold a sealing key"),
            (["--sealing-key", "{folder}/k.key/model.key"], "is not a folder"),
            (["--sealing-key", "{tmp}/open.key"], "readable by its owner alone"),
            (["--key-path", "/run/*"], "without wildcards"),
            (["--class-names", "a,b"], "`class_names` must be 10 names"),
            (["--output", "{folder}/k.key"], "k.key"),
        ],
    )
    def test_mistakes_are_told_before_the_model_is_read(self, folder, tmp_path, capsys, monkeypatch, change, message):
        monkeypatch.setattr("honeykeras.models.load", lambda *_, **__: pytest.fail("it was read"))
        (tmp_path / "m" / "7" / "variables").mkdir(parents=True)
        (tmp_path / "no.key").touch(0o600)
        (tmp_path / "open.key").write_bytes(bytes(32))
        (tmp_path / "open.key").chmod(0o644)
        change = [word.format(tmp=tmp_path, folder=folder) for word in change]
        assert message in fails(capsys, guarded(folder, tmp_path / "m", *change))
        assert os.listdir(tmp_path / "m") == ["7"]

    def test_key_of_an_export_that_fails_stays_for_another_that_sealed_with_it(
        self, folder, tmp_path, capsys, monkeypatch
    ):
        """Else that one's artifact, published in the meantime, could never be opened again."""
        save, arguments = (
            export.save_guarded,
            guarded(folder, tmp_path / "m", "--sealing-key", str(tmp_path / "new.key")),
        )

        def fail(*args, **kwargs):
            monkeypatch.setattr(export, "save_guarded", save)
            assert run(arguments) == 0
            raise StorageError("Cannot write m: No space left on device.")

        monkeypatch.setattr(export, "save_guarded", fail)
        assert "No space left" in fails(capsys, arguments)
        key = export.SealingKey.load(tmp_path / "new.key")
        assert export.load(tmp_path / "m" / "1", sealing_key=key, unsigned=True).output_shape == (None, 10)

    def test_input_range(self, folder, tmp_path, capsys):
        arguments = ["--model", folder / "trained" / "model.keras", "--output", tmp_path / "m", "--input-range"]
        assert run(["export", *map(str, arguments), "0,0.5"]) == 0
        predict = tf.saved_model.load(str(tmp_path / "m" / "1")).signatures["serving_default"]
        said = [predict(inputs=tf.fill([1, 8, 8, 1], value))["probabilities"].numpy() for value in (0.5, 0.9)]
        assert (said[0] == said[1]).all()
        assert "`input_range` must be two finite numbers" in fails(capsys, ["export", *arguments, "1,0"])

    def test_detector_and_sealing_key_go_together(self, folder, tmp_path, capsys):
        arguments = ["export", "--model", folder / "trained" / "model.keras", "--output", tmp_path / "m"]
        assert "go together" in fails(capsys, [*arguments, "--detector", folder / "detector.hk"])
        assert "go together" in fails(capsys, [*arguments, "--sealing-key", tmp_path / "new.key"])
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        "option", [["--policy", "decoy"], ["--key-path", "/run/secrets/k"], ["--passphrase-file", "p"]]
    )
    def test_what_is_for_a_detector_needs_one(self, option, folder, tmp_path, capsys):
        arguments = ["export", "--model", folder / "trained" / "model.keras", "--output", tmp_path / "m", *option]
        assert f"`{option[0]}` is for a detector" in fails(capsys, arguments)
        assert os.listdir(tmp_path) == []

    def test_options_in_the_wrong_place_are_told(self, tmp_path, capsys):
        arguments = ["export", "--output", tmp_path / "m", "sign", tmp_path, "--private-key", tmp_path / "s.pem"]
        assert "do nothing for 'sign'" in fails(capsys, arguments)

    def test_says_what_is_missing(self, tmp_path, capsys):
        assert "Missing option '--model'" in fails(capsys, ["export", "--output", tmp_path / "m"])
        assert "Missing option '--output'" in fails(capsys, ["export", "--model", tmp_path / "m"])


@pytest.fixture(scope="module")
def signing_keys(folder):
    keys = ["--private-key", str(folder / "s.pem"), "--public-key", str(folder / "s.pub")]
    assert run(["export", "signing-keys", *keys]) == 0
    assert run(["export", "sign", str(folder / "serving" / "digits" / "1"), "--private-key", keys[1]]) == 0
    return keys[1], keys[3]


class TestVerify:
    def test_tells_each_check(self, folder, version, signing_keys, capsys):
        arguments = ["--public-key", signing_keys[1], "--key", str(folder / "k.key"), "--role", "hosted"]
        assert run(["verify", version, *arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        checks = ["files", "signature", "identity", "leaks", "operations", "answers"]
        assert [line.split(":")[0] for line in lines] == checks

    def test_without_a_public_key_stops_before_the_graph(self, version, capsys):
        assert run(["verify", version]) == 2
        said = capsys.readouterr()
        assert "signature: not checked" in said.out
        assert "operations: right" in said.out
        assert "answers" not in said.out
        assert "must be verified before it is run beside its key" in said.err

    def test_unsigned(self, version, capsys):
        assert run(["verify", version, "--unsigned"]) == 0
        assert "answers: right" in capsys.readouterr().out

    def test_detector_is_the_one_that_was_judged(self, folder, version, tmp_path, capsys, evaluation):
        """The id of the report, of the detector's file and of the manifest are one."""
        assert run(["detector", "inspect", str(folder / "detector.hk"), "--json"]) == 0
        detector_id = json.loads(capsys.readouterr().out)["detector_id"]
        assert export.inspect(version)["build_id"] == detector_id

        def judged(found):
            path = tmp_path / f"{found}.json"
            detection = dataclasses.replace(evaluation.detection, detector_id=found)
            hk.report.write(path, hk.report.make(dataclasses.replace(evaluation, detection=detection), {}))
            return ["verify", version, "--unsigned", "--report", str(path)]

        assert run(judged(detector_id)) == 0
        assert f"detector: right, {detector_id} is what was judged" in capsys.readouterr().out
        run(judged("0" * 16))
        assert "its detector id must be 0000000000000000" in capsys.readouterr().err
        assert "must name the detector that it judged" in fails(capsys, judged(None))

    @pytest.mark.parametrize("expected", [["--name", "other"], ["--role", "public"]])
    def test_of_another_than_expected(self, version, signing_keys, capsys, expected):
        arguments = ["verify", version, "--public-key", signing_keys[1], *expected]
        assert "must be the artifact that is expected" in fails(capsys, arguments)


class TestReseal:
    def test_makes_a_version_to_be_signed(self, folder, version, signing_keys, tmp_path, capsys):
        new = str(tmp_path / "new.key")
        arguments = [version, "--old-key", str(folder / "model.key"), "--new-key", new]
        assert run(["export", "reseal", *arguments, "--public-key", signing_keys[1]]) == 0
        again = str(folder / "serving" / "digits" / "2")
        assert "2.sig. Received: no such file" in fails(capsys, ["verify", again, "--public-key", signing_keys[1]])
        assert run(["export", "sign", again, "--private-key", signing_keys[0]]) == 0
        assert run(["verify", again, "--sealing-key", new, "--public-key", signing_keys[1]]) == 0

    @pytest.mark.parametrize("trust", [[], ["--unsigned", "--public-key", "s.pub"], ["--public-key", "none.pub"]])
    def test_that_is_refused_makes_no_key(self, version, signing_keys, trust, tmp_path, capsys):
        """And reads none, neither."""
        keys = ["--old-key", tmp_path / "none.key", "--new-key", tmp_path / "new.key"]
        assert "none.key" not in fails(capsys, ["export", "reseal", version, *keys, *trust])
        assert os.listdir(tmp_path) == []

    def test_that_fails_leaves_no_key(self, version, tmp_path, capsys):
        export.SealingKey.generate().save(tmp_path / "wrong.key")
        keys = ["--old-key", tmp_path / "wrong.key", "--new-key", tmp_path / "new.key"]
        assert "The sealing key must be" in fails(capsys, ["export", "reseal", version, *keys, "--unsigned"])
        assert os.listdir(tmp_path) == ["wrong.key"]


class TestAttack:
    def test_of_what_needs_a_key(self, folder, version, signing_keys, tmp_path, capsys):
        arguments = ["--samples", "6", "--steps", "2", "--verbose", "0", "--output", tmp_path / "made"]
        trust = ["--public-key", signing_keys[1], "--sealing-key", folder / "model.key"]
        assert run(list(map(str, ["attack", "--model", version, *arguments, *trust]))) == 0
        assert "of 6 images" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("trust", "message"),
        [
            ([], "--sealing-key and --public-key"),
            (["--sealing-key", "{folder}/model.key"], "must be verified before it is run beside its key"),
            (["--public-key", "{folder}/k.key"], "must hold a public EC key"),
            (["--unsigned", "--sealing-key", "{tmp}/none.key"], "none.key"),
        ],
    )
    def test_of_what_needs_a_key_without_trust(self, folder, version, tmp_path, capsys, trust, message):
        trust = [word.format(folder=folder, tmp=tmp_path) for word in trust]
        assert message in fails(capsys, ["attack", "--model", version, "--output", tmp_path / "made", *trust])
        assert os.listdir(tmp_path) == []

    def test_of_a_keras_file_needs_no_trust(self, folder, tmp_path, capsys):
        arguments = ["attack", "--model", folder / "trained" / "model.keras", "--output", tmp_path / "made"]
        assert "are for the version folder of an artifact" in fails(capsys, [*arguments, "--unsigned"])


class TestEvaluate:
    def test_of_what_needs_a_key_judges_the_classifier_behind_the_policy(
        self, folder, version, tmp_path, capsys, monkeypatch
    ):
        judged = []

        def judge(model, *_, **__):
            judged.append(model)
            raise InvalidArgumentError("enough")

        monkeypatch.setattr("honeykeras.evaluation.evaluate", judge)
        trained = folder / "trained"
        models = ["--model", version, "--baseline", trained / "baseline.keras", "--key", folder / "k.key"]
        trust = ["--unsigned", "--sealing-key", folder / "model.key", "--output", tmp_path / "report.json"]
        assert "enough" in fails_at_last(capsys, ["evaluate", *models, *trust])
        x = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
        expected = tf.nn.softmax(hk.models.load(trained / "model.keras")(x))
        np.testing.assert_allclose(judged[0](x), expected, atol=1e-5)


class TestDetector:
    def test_fit_says_which(self, folder, capsys, tmp_path):
        model = ["--model", folder / "trained" / "model.keras", "--key", folder / "k.key", "--kind", "trapdoor"]
        (tmp_path / "words").write_text("correct horse")
        (tmp_path / "words").chmod(0o600)
        output = ["--output", tmp_path / "d", "--detector-passphrase-file", tmp_path / "words", "--max-fpr", "0.05"]
        assert run(["detector", "fit", *map(str, [*model, *output])]) == 0
        said = capsys.readouterr().out
        assert run(["detector", "inspect", str(tmp_path / "d")]) == 0
        shown = capsys.readouterr().out
        assert "kind: trapdoor" in shown
        assert "passphrase: yes" in shown
        assert shown.splitlines()[0].removeprefix("detector id: ") in said
        assert "already exists" in fails(capsys, ["detector", "fit", *model, *output])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (["--kind", ""], "'' is not one of 'key'"),
            (["--max-fpr", "1"], "1.0 is not in the range 0<x<1"),
            (["--max-fpr", "nan"], "must be a finite number"),
            (["--model", "none.keras"], "There must be a .keras file"),
            (["--key", "none.key"], "Cannot read the key file"),
            (["--seed", "3"], "`seed` that it was trained with"),
        ],
    )
    def test_mistakes(self, folder, capsys, tmp_path, change, message):
        model = ["--model", folder / "trained" / "model.keras", "--key", folder / "k.key"]
        assert message in fails(capsys, ["detector", "fit", *model, "--output", tmp_path / "d", *change])
        assert os.listdir(tmp_path) == []

    def test_evaluate_wants_the_detector_of_the_key(self, folder, capsys, tmp_path):
        hk.WatermarkKey.generate((8, 8, 1), 10).save(tmp_path / "other.key")
        trained = folder / "trained"
        models = ["--model", trained / "model.keras", "--baseline", trained / "baseline.keras"]
        arguments = ["evaluate", *models, "--output", tmp_path / "r.json", "--detector", folder / "detector.hk"]
        assert "must be for the key that is judged" in fails(capsys, [*arguments, "--key", tmp_path / "other.key"])
        given = [*arguments, "--key", folder / "k.key"]
        assert "are for a detector that is fitted here" in fails(capsys, [*given, "--kind", "key"])
        assert os.listdir(tmp_path) == ["other.key"]


class TestAfterExport:
    def test_inspect(self, folder, version, capsys):
        assert run(["inspect", version, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == export.inspect(version)
        assert run(["inspect", version]) == 0
        shown = capsys.readouterr().out
        assert export.SealingKey.load(folder / "model.key").key_id in shown
        assert "serving_default: inputs float32" in shown
        # A number, and not "yes".
        assert [line.split()[-2] for line in shown.splitlines() if " version " in line] == ["1"]

    def test_inspect_what_is_none(self, tmp_path, capsys):
        assert "saved_model.pb" in fails(capsys, ["inspect", tmp_path])

    def test_deploy_kit(self, folder, tmp_path, capsys):
        arguments = [str(tmp_path / "kit"), "--name", "digits", "--base-path", "serving/digits", "--replicas", "5"]
        arguments += ["--sealing-key", str(folder / "model.key")]
        assert run(["export", "deploy-kit", *arguments]) == 0
        assert "replicas: 5" in (tmp_path / "kit" / "kubernetes.yaml").read_text()
        assert export.SealingKey.load(folder / "model.key").key_id in (tmp_path / "kit" / "verify.sh").read_text()
        assert "already exists" in fails(capsys, ["export", "deploy-kit", *arguments])
        assert run(["export", "deploy-kit", *arguments, "--overwrite"]) == 0

    @pytest.mark.parametrize("command", ["reseal", "recalibrate", "sign", "signing-keys", "deploy-kit"])
    def test_help_has_an_example(self, command, capsys):
        assert run(["export", command, "--help"]) == 0
        assert f"honeykeras export {command}" in capsys.readouterr().out
