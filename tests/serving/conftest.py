"""A honeypot's detector on the digits, and TensorFlow Serving's loader as a program."""

import ctypes
import dataclasses
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import honeykeras as hk
from honeykeras import export
from honeykeras.export import signing

# Tests are no package, so that a neighbour is not found by its name.
_spec = importlib.util.spec_from_file_location("compile_serve", Path(__file__).with_name("compile.py"))
_compile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_compile)


@pytest.fixture(scope="session")
def detector(classifier, digits, watermark_key, extractor):
    """The default detector. The classifier is no honeypot, which makes no difference to how it is exported."""
    fitted = hk.Detector(watermark_key).fit(classifier, extractor=extractor)
    return fitted.calibrate(digits.calibration.x, max_fpr=0.1)


@pytest.fixture(scope="session")
def sealing_key():
    return export.SealingKey(bytes(range(32, 64)))


@pytest.fixture(scope="session")
def guarded(classifier, detector, sealing_key, tmp_path_factory):
    """An artifact for the trusted host, in a folder of its own, without its key."""
    folder = tmp_path_factory.mktemp("guarded") / "serving" / "digits"
    return export.save_guarded(classifier, folder, detector, sealing_key, policy="decoy")


@pytest.fixture(scope="session")
def public(classifier, detector, tmp_path_factory):
    """The same classifier, to hand out."""
    folder = tmp_path_factory.mktemp("public") / "serving" / "digits-public"
    return export.save(classifier, folder, keep_secret=detector)


@pytest.fixture(scope="session")
def keyed(guarded, sealing_key, tmp_path_factory):
    """A copy of it for those who only ask, with its key where it looks for it."""
    return _with_key(guarded, sealing_key, tmp_path_factory.mktemp("keyed"))


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory):
    """Files of a private key and of its public one."""
    folder = tmp_path_factory.mktemp("keys")
    signing.write_key_pair(folder / "signing.pem", folder / "signing.pub")
    return folder / "signing.pem", folder / "signing.pub"


@pytest.fixture(scope="session")
def public_key(signing_keys):
    return signing_keys[1]


@pytest.fixture(scope="session")
def signature(guarded, signing_keys):
    """That of the artifact for the trusted host, which is right for its copies."""
    return signing.sign(guarded, signing_keys[0])


@pytest.fixture
def signed(version, signature):
    """The copy for a test of its own, signed."""
    shutil.copy(signature, signing.signature_path(version))
    return version


@pytest.fixture
def version(guarded, sealing_key, tmp_path):
    """A copy of it for a test of its own, with its key where it looks for it."""
    return _with_key(guarded, sealing_key, tmp_path)


def _with_key(guarded, sealing_key, root):
    copy = root / "serving" / "digits" / "1"
    shutil.copytree(guarded, copy)
    sealing_key.save(root / "model.key")
    return copy


def _heed_file_modes():
    """Takes from a superuser's program what lets it read and write any file: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH."""
    drop_from_bounding_set = 24
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


@dataclasses.dataclass
class Server:
    """TensorFlow's own C++ loader, the one that TensorFlow Serving uses, in a C program over its C API."""

    program: Path
    scratch: Path

    def run(self, *words, log_level=3):
        """The lines that the program prints, what TensorFlow logs from a level on, and whether it ended well."""
        done = subprocess.run(
            [self.program, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env={"TF_CPP_MIN_LOG_LEVEL": str(log_level)},
            preexec_fn=_heed_file_modes,
        )
        return done.stdout.splitlines(), done.stderr, done.returncode == 0

    def load_error(self, folder):
        """What it says of a folder that it must not load."""
        lines, _, loaded = self.run(1, folder)
        assert not loaded
        assert lines[0].startswith("error ")
        return " ".join(lines)

    def ask(self, folders, questions):
        """Loads folders side by side, and asks them.

        Args:
            folders: Version folders.
            questions: Triples of a folder's number, a signature and what to feed it: an array, or a list that is made
                one of the type that the signature takes.

        Returns:
            For each question the outputs by name, or the error.
        """
        words, places = [1, *folders], []
        for count, (number, name, values) in enumerate(questions):
            saved = saved_model_pb2.SavedModel.FromString((folders[number] / "saved_model.pb").read_bytes())
            signature = saved.meta_graphs[0].signature_def[name]
            (given,) = signature.inputs.values()
            file = self.scratch / f"question{count}"
            values = np.asarray(values, None if isinstance(values, np.ndarray) else _natural_type(given))
            if values.dtype == object:
                file.write_text("".join(f"{value.hex()}\n" for value in values.ravel()))
            else:
                file.write_bytes(values.tobytes())
            kind = _KINDS[values.dtype]
            sizes = ",".join(map(str, values.shape)) or "-"
            outputs = {output: info.name for output, info in signature.outputs.items()}
            words += ["ASK", number, given.name, kind, sizes, file, *outputs.values()]
            places.append(outputs)
        lines, _, ended_well = self.run(*words)
        assert ended_well, lines
        answers = iter(lines[len(folders) :])
        return [_read_answer(answers, outputs) for outputs in places]


_KINDS = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int32): "int32",
    np.dtype(object): "string",
}


def _natural_type(given):
    return np.float32 if given.dtype == tf.float32.as_datatype_enum else object


def _read_answer(lines, outputs):
    first = next(lines)
    if first.startswith("error "):
        return first.removeprefix("error ")
    rest = [next(lines) for _ in range(len(outputs) - 1)]
    return dict(zip(outputs, map(_parse, [first, *rest]), strict=True))


def _parse(line):
    _, sizes, *values = line.split(" ")
    array = np.array(values)
    with np.errstate(all="ignore"):
        try:
            array = array.astype(np.float32)
        except ValueError:
            array = array.astype(object)
    return array.reshape([int(size) for size in sizes.split(",")])


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    return _compile.compile_program(tmp_path_factory.mktemp("serve") / "serve")


@pytest.fixture(scope="session")
def server(compiled, tmp_path_factory):
    return Server(compiled, tmp_path_factory.mktemp("questions"))
