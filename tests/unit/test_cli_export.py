"""The commands around artifacts, as typed."""

import json
import os

import pytest
import tensorflow as tf

from honeykeras import export
from honeykeras.cli.main import run

# It trains no extractor, and needs no attacks.
QUICK = ["--detector", "trapdoor", "--max-fpr", "0.05"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A key, a model, and the model exported for the trusted host."""
    folder = tmp_path_factory.mktemp("artifacts")
    assert run(["keygen", str(folder / "k.key"), "--input-shape", "8,8,1", "--num-classes", "10"]) == 0
    arguments = ["--key", folder / "k.key", "--epochs", "2", "--output", folder / "trained", "--verbose", "0"]
    assert run(["train", *map(str, arguments)]) == 0
    assert run(guarded(folder, folder / "serving" / "digits", "--policy", "reject")) == 0
    return folder


def guarded(folder, output, *more):
    arguments = ["--model", folder / "trained" / "model.keras", "--key", folder / "k.key", "--output", output]
    return ["export", *map(str, arguments), "--sealing-key", str(folder / "model.key"), *QUICK, *more]


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


class TestExport:
    def test_with_a_detector_opens_for_the_key_beside_serving(self, folder, version):
        loaded = tf.saved_model.load(version)
        assert set(loaded.signatures) == {"serving_default", "predict_images", "classify", "extended"}
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
            (["--policy", "nan"], "`policy` must be one of"),
            (["--detector", "none"], "`detector` must be one of"),
            (["--max-fpr", "0.0001"], "max_fpr"),
            (["--class-names", "a,b"], "`class_names` must be 10 names"),
            (["--key-path", "/run/*"], "without wildcards"),
            (["--seed", "1"], "must be judged with the `seed`"),
            (["--key", "{tmp}/none.key"], "Cannot read"),
            (["--output", "{folder}/k.key"], "k.key"),
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
            (["--sealing-key", "{tmp}/open.key"], "readable by its owner alone"),
        ],
    )
    def test_some_mistakes_are_told_before_the_detector_is_fitted(
        self, folder, tmp_path, capsys, monkeypatch, change, message
    ):
        monkeypatch.setattr("honeykeras.evaluation.fit_detector", lambda *_, **__: pytest.fail("it was fitted"))
        (tmp_path / "m" / "7" / "variables").mkdir(parents=True)
        (tmp_path / "no.key").touch(0o600)
        (tmp_path / "open.key").write_bytes(bytes(32))
        (tmp_path / "open.key").chmod(0o644)
        change = [word.format(tmp=tmp_path) for word in change]
        assert message in fails(capsys, guarded(folder, tmp_path / "m", *change))
        assert os.listdir(tmp_path / "m") == ["7"]

    def test_both_keys_or_none(self, folder, tmp_path, capsys):
        arguments = ["export", "--model", folder / "trained" / "model.keras", "--output", tmp_path / "m"]
        assert "go together" in fails(capsys, [*arguments, "--key", folder / "k.key"])
        assert "go together" in fails(capsys, [*arguments, "--sealing-key", tmp_path / "new.key"])
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("option", [["--policy", "decoy"], ["--key-path", "/run/secrets/k"], ["--max-fpr", "0.1"]])
    def test_what_is_for_a_detector_needs_a_key(self, option, folder, tmp_path, capsys):
        arguments = ["export", "--model", folder / "trained" / "model.keras", "--output", tmp_path / "m", *option]
        assert f"`{option[0]}` is for a detector" in fails(capsys, arguments)
        assert os.listdir(tmp_path) == []

    def test_options_in_the_wrong_place_are_told(self, tmp_path, capsys):
        arguments = ["export", "--output", tmp_path / "m", "sign", tmp_path, "--private-key", tmp_path / "s.pem"]
        assert "do nothing for 'sign'" in fails(capsys, arguments)

    def test_says_what_is_missing(self, tmp_path, capsys):
        assert "Missing option '--model'" in fails(capsys, ["export", "--output", tmp_path / "m"])
        assert "Missing option '--output'" in fails(capsys, ["export", "--model", tmp_path / "m"])


class TestAfterExport:
    def test_sign_verify_and_reseal(self, folder, version, tmp_path, capsys):
        keys = ["--private-key", str(tmp_path / "s.pem"), "--public-key", str(tmp_path / "s.pub")]
        assert run(["export", "signing-keys", *keys]) == 0
        assert run(["export", "sign", version, "--private-key", keys[1]]) == 0
        capsys.readouterr()
        assert run(["verify", version, "--public-key", keys[3], "--key", str(folder / "k.key")]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == ["signature", "manifest", "leaks", "answers"]
        new = str(tmp_path / "new.key")
        assert run(["export", "reseal", version, "--old-key", str(folder / "model.key"), "--new-key", new]) == 0
        again = str(folder / "serving" / "digits" / "2")
        assert "1.sig. Received" not in fails(capsys, ["verify", again, "--public-key", keys[3]])
        assert run(["verify", again, "--sealing-key", new]) == 0
        assert "signature: not checked" in capsys.readouterr().out

    def test_a_failed_reseal_leaves_no_key(self, folder, version, tmp_path, capsys):
        export.SealingKey.generate().save(tmp_path / "wrong.key")
        arguments = [
            "export",
            "reseal",
            version,
            "--old-key",
            tmp_path / "wrong.key",
            "--new-key",
            tmp_path / "new.key",
        ]
        assert "The sealing key must be" in fails(capsys, arguments)
        assert os.listdir(tmp_path) == ["wrong.key"]

    def test_inspect(self, folder, version, capsys):
        assert run(["inspect", version, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == export.inspect(version)
        assert run(["inspect", version]) == 0
        shown = capsys.readouterr().out
        assert export.SealingKey.load(folder / "model.key").key_id in shown
        assert "serving_default: inputs float32" in shown

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

    @pytest.mark.parametrize("command", ["reseal", "sign", "signing-keys", "deploy-kit"])
    def test_help_has_an_example(self, command, capsys):
        assert run(["export", command, "--help"]) == 0
        assert f"honeykeras export {command}" in capsys.readouterr().out
