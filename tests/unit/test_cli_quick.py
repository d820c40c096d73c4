"""Help and mistakes are answered without TensorFlow, which takes seconds to load."""

import json
import subprocess
import sys

import pytest

from honeykeras import names

# Runs the command line on many lists of words in one process in which TensorFlow and Keras cannot be imported.
SCRIPT = """
import contextlib, io, json, sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise AssertionError("it loads " + name)

sys.meta_path.insert(0, Barred())
from honeykeras.cli.main import run

found = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(arguments)
    except BaseException as error:
        status = repr(error)
    found.append((status, out.getvalue(), err.getvalue()))
json.dump(found, sys.stdout)
"""

COMMANDS = [
    ["keygen"],
    ["train"],
    ["attack"],
    ["detector"],
    ["detector", "fit"],
    ["detector", "inspect"],
    ["evaluate"],
    ["report"],
    ["quickstart"],
    ["export"],
    ["export", "reseal"],
    ["export", "recalibrate"],
    ["detector", "calibrate"],
    ["export", "sign"],
    ["export", "signing-keys"],
    ["export", "deploy-kit"],
    ["verify"],
    ["inspect"],
]

# What is typed, and what is said of it. `{folder}` holds a key, a file that is neither model nor key, and no model.
MISTAKES = [
    ("nonsense", "No such command 'nonsense'"),
    ("quickstart --nonsense", "No such option"),
    ("quickstart --dataset MNIST", "`dataset` must be digits, a name of tensorflow-datasets"),
    ("quickstart --dataset nothing.npz", "must be a data set at nothing.npz"),
    ("quickstart --dataset no/folder/of/mine", "must be a data set at no/folder/of/mine"),
    ("quickstart --image-size 0", "`--image-size` must be one or two sizes"),
    ("quickstart --image-size 1,2,3", "`--image-size` must be one or two sizes"),
    ("quickstart --features {folder}/file", "`--features` is for a folder of TFRecords. Received: digits"),
    ("quickstart --dataset {folder} --features {folder}/none", "must be a file features.json at"),
    ("quickstart --recipe papr", "'papr' is not one of"),
    ("quickstart --kind=", "'' is not one of 'key'"),
    ("quickstart --policy nan", "'nan' is not one of 'mislead'"),
    ("quickstart --max-fpr 2", "2.0 is not in the range 0<x<1"),
    ("quickstart --max-fpr nan", "'nan' must be a finite number"),
    ("quickstart --samples 0", "0 is not in the range"),
    ("quickstart --samples 1e21", "'1e21' is not a valid integer"),
    ("quickstart --samples 100000000000000000000000", "is not in the range"),
    ("quickstart --seed -1", "-1 is not in the range 0<=x<=4294967295"),
    ("quickstart --poison-rate 1.2", "1.2 is not in the range 0<=x<1"),
    ("quickstart --amplitude inf", "is not in the range"),
    ("quickstart --epochs many", "'many' is not a valid integer"),
    ("quickstart --output {folder}", "already exists"),
    ("quickstart --output {folder} --overwrite", "holds what would be lost"),
    ("keygen {folder}/k --input-shape a,b --num-classes 2", "must be numbers separated by commas"),
    ("keygen {folder}/k --input-shape 0 --num-classes 2", "`input_shape` must be"),
    ("keygen {folder}/k --input-shape 8 --num-classes 1", "1 is not in the range x>=2"),
    ("keygen {folder}/k --input-shape 8", "Missing option '--num-classes'"),
    ("keygen {folder}/k --input-shape 8 --num-classes 2 --input-range 1", "`input_range` must be"),
    ("keygen {folder}/k --input-shape 8 --num-classes 2 --signed", "is no setting of the pattern 'blocks'"),
    ("keygen {folder}/key --input-shape 8 --num-classes 2", "already exists"),
    ("train --key {folder}/none --output {folder}/x", "Cannot read the key file"),
    ("train --key {folder}/file --output {folder}/x", "is not a honeykeras key file"),
    ("train --key {folder}/key --output {folder}/file", "already exists"),
    ("train --key {folder}/key --output {folder}/x --passphrase-file {folder}/none", "the passphrase file"),
    ("attack --model {folder}/none --output {folder}/x", "There must be a .keras file or the folder of"),
    ("attack --model {folder}/file --output {folder}/x --attack fgsm", "'fgsm' is not one of 'pgd', 'cw', 'ddn'"),
    ("attack --model {folder}/file --output {folder}/x --theta 1", "`--theta` is no setting of pgd"),
    ("attack --model {folder}/file --output {folder}/x --norm 2", "`--epsilon` must be given"),
    ("attack --model {folder}/file --output {folder}/x --norm 3", "'3' is not one of 'inf', '2'"),
    ("attack --model {folder}/file --output {folder}/x --epsilon -1", "-1.0 is not in the range x>0"),
    ("attack --model {folder}/file --output {folder}/x --epsilon nan", "'nan' must be a finite number"),
    ("attack --model {folder}/file --output {folder}/x --steps 1e21", "'1e21' is not a valid integer"),
    ("attack --model {folder}/file --output {folder}/x --steps 1000000000000000000000", "is not in the range"),
    ("attack --model {folder}/file --output {folder}/x --format csv", "'csv' is not one of 'npz', 'tfrecord'"),
    ("attack --model {folder}/file --output {folder}/x --mask {folder}/file", "must be a .npy file"),
    ("attack --model {folder}/file --output {folder}/x --mask {folder}/none", "Cannot read the mask"),
    ("attack --model {folder}/file --output {folder}/x --input-range 1,0", "`input_range` must be"),
    ("attack --model {folder}/file --output {folder}/file", "already exists"),
    ("attack --model {folder}/file --output {folder}/x --unsigned", "are for the version folder of an artifact"),
    ("detector fit --model {folder}/none --key {folder}/key --output {folder}/x", "There must be a .keras file"),
    ("detector fit --model {folder}/file --key {folder}/file --output {folder}/x", "is not a honeykeras key file"),
    ("detector fit --model {folder}/file --key {folder}/key --output {folder}/file", "already exists"),
    ("detector inspect {folder}/key", "is not a honeykeras detector file"),
    ("evaluate --model {folder}/file --baseline {folder}/none --key {folder}/key --output {folder}/r", "no such file"),
    ("evaluate --model {folder}/file --baseline {folder}/file --key {folder}/key --output {folder}/r", "another model"),
    ("evaluate --model {folder}/file --baseline {folder} --key {folder}/key --output {folder}/r.html", "end in .html"),
    (
        "evaluate --model {folder}/file --baseline {folder} --key {folder}/key --output {folder}/r --attack pgd "
        "--attack pgd",
        "must name no attack twice",
    ),
    (
        "evaluate --model {folder}/file --baseline {folder} --key {folder}/key --output {folder}/r --detector "
        "{folder}/key",
        "is not a honeykeras detector file",
    ),
    (
        "evaluate --model {folder}/file --baseline {folder} --key {folder}/key --output {folder}/r --detector "
        "{folder}/key --kind key",
        "are for a detector that is fitted here",
    ),
    ("report {folder}/file", "Say what to write"),
    ("report {folder}/file --output {folder}/x", "must be a report of schema version"),
    ("report {folder}/none --output {folder}/x", "Cannot read"),
    ("export --output {folder}/x", "Missing option '--model'"),
    ("export --model {folder}/none --output {folder}/x", "no such file"),
    ("export --model {folder}/file --output {folder}/x --detector {folder}/key", "go together"),
    ("export --model {folder}/file --output {folder}/x --policy decoy", "is for a detector"),
    ("export --model {folder}/file --output {folder}/x --version 0", "0 is not in the range"),
    (
        "export --model {folder}/file --output {folder}/x --detector {folder}/key --sealing-key {folder}/x",
        "is not a honeykeras detector file",
    ),
    ("export reseal {folder}/none --old-key {folder}/a --new-key {folder}/b", "no such file or folder"),
    ("export sign {folder}/none --private-key {folder}/key", "none"),
    ("export deploy-kit {folder}/x --name m --base-path m --sealing-key {folder}/key", "must hold a sealing key"),
    ("verify {folder}/none", "no such file or folder"),
    ("verify {folder} --role sealed", "'sealed' is not one of 'public', 'hosted'"),
    ("verify {folder} --report {folder}/file", "must be a report of schema version"),
    ("inspect {folder}/none", "no such file or folder"),
]


def ask(lists):
    """What the command line answers: its exit status, stdout and stderr."""
    program = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(program, input=json.dumps(lists), check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    (folder / "file").write_text("{}")
    (folder / "file").chmod(0o600)
    (made,) = ask([["keygen", str(folder / "key"), "--input-shape", "8,8,1", "--num-classes", "10"]])
    assert made[0] == 0, made
    found = ask([typed.format(folder=folder).split() for typed, _ in MISTAKES])
    return dict(zip((typed for typed, _ in MISTAKES), found, strict=True)), folder


@pytest.mark.parametrize(("typed", "message"), MISTAKES)
def test_mistake_is_one_line_at_once(typed, message, answers):
    status, _, error = answers[0][typed]
    assert status == 2, (status, error)
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("honeykeras: error: ")


def test_mistakes_leave_nothing(answers):
    assert sorted(path.name for path in answers[1].iterdir()) == ["file", "key"]


def test_help_is_there_at_once():
    found = ask([["--help"], *([*command, "--help"] for command in COMMANDS)])
    for command, (status, out, _) in zip([[], *COMMANDS], found, strict=True):
        assert status == 0, (command, out)
        assert f"honeykeras {' '.join(command)}".rstrip() in out
        assert "Example:" in out


def test_keys_need_no_tensorflow(tmp_path):
    signing = ["export", "signing-keys", "--private-key", str(tmp_path / "s.pem"), "--public-key", str(tmp_path / "s")]
    assert [status for status, *_ in ask([signing])] == [0]


def test_there_is_something_behind_each_name():
    import honeykeras as hk
    from honeykeras import export
    from honeykeras.attacks.jsma import _GRADIENTS
    from honeykeras.attacks.pgd import _NORMS
    from honeykeras.attacks.shards import FORMATS

    assert tuple(hk.patterns.FAMILIES) == names.FAMILIES
    assert tuple(recipe.name for recipe in hk.recipes.ALL) == names.RECIPES
    assert tuple(hk.attacks.names()) == names.ATTACKS
    assert tuple(_NORMS) == names.NORMS
    assert tuple(_GRADIENTS) == names.SEARCHES
    assert tuple(FORMATS) == names.SHARD_FORMATS
    assert tuple(hk.detection.KINDS) == names.DETECTORS
    assert set(export.POLICIES) == set(names.POLICIES)


@pytest.mark.parametrize("name", ["pgd", "cw", "jsma"])
def test_every_setting_of_an_attack_has_an_option(name):
    import honeykeras as hk
    from honeykeras.cli.attacks import _SETTINGS

    config = hk.attacks.get(name, **({"epsilon": 0.1} if name == "pgd" else {})).get_config()
    assert set(_SETTINGS[name]) == set(config) - {"targeted", "input_range", "seed"}
