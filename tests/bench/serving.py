"""What sealing and judging cost on the server: the guarded artifact over the plain one, in the C++ loader.

Artifacts are loaded in turns and asked in turns by `tests/serving/serve.c`, in one process. A second plain artifact is
the control: how far two alike are apart. Weights are random, which makes no difference to speed.

    python tests/bench/serving.py --rounds 200
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

import honeykeras as hk
from honeykeras import export
from honeykeras.detection import fit_extractor

sys.path.append(str(Path(__file__).parent.parent / "serving"))
from compile import compile_program

LOADS = 15


def resnet50(input_shape, num_classes):
    return keras.applications.ResNet50(
        include_top=True, weights=None, input_shape=input_shape, classes=num_classes, classifier_activation=None
    )


def with_branch(input_shape, num_classes):
    return hk.models.add_branch(hk.models.small_cnn(input_shape, num_classes))


CASES = {
    "small CNN with its branch, 28 x 28 x 1, detector key": (with_branch, (28, 28, 1), "key"),
    "small CNN, 28 x 28 x 1, detector key": (hk.models.small_cnn, (28, 28, 1), "key"),
    "small CNN, 28 x 28 x 1, detector paper": (hk.models.small_cnn, (28, 28, 1), "paper"),
    "ResNet-50, 32 x 32 x 3, detector key": (resnet50, (32, 32, 3), "key"),
    "ResNet-50, 32 x 32 x 3, detector paper": (resnet50, (32, 32, 3), "paper"),
}


def make_detector(model, shape, kind):
    noise = np.random.default_rng(0).random((300, *shape), np.float32)
    if kind == "paper":
        key = hk.WatermarkKey.generate(shape, 10, pattern=hk.patterns.Scattered())
        fitted = hk.detection.PaperDetector(key).fit(
            model, hk.detection.Samples(noise[:100], adversarial=noise[100:200])
        )
    else:
        key = hk.WatermarkKey.generate(shape, 10)
        fitted = hk.Detector(key).fit(model, extractor=fit_extractor(noise, key.pattern, steps=1))
    return fitted.calibrate(noise[200:], 0.05)


def run(program, *words):
    command = [str(program), *map(str, words)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    return [line.split() for line in output.stdout.splitlines()]


def question(folder, number, signature, file, sizes):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    described = saved.meta_graphs[0].signature_def[signature]
    outputs = [info.name for info in described.outputs.values()]
    return ["ASK", number, described.inputs["inputs"].name, "float", ",".join(map(str, sizes)), file, *outputs]


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ratio(times, others):
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def measure(program, name, rounds, scratch):
    make, shape, kind = CASES[name]
    keras.utils.set_random_seed(0)
    model = make(shape, 10)
    key = export.SealingKey.generate()
    key.save(scratch / "model.key")
    guarded = export.save_guarded(model, scratch / "serving" / "guarded", make_detector(model, shape, kind), key)
    plain = [export.save(model, scratch / "serving" / "plain") for _ in range(2)]
    folders = [*plain, guarded]
    print(f"{name}\n  size: plain {size(plain[0]) / 2**20:.2f} MiB, sealed {size(guarded) / 2**20:.2f} MiB")
    loads = [float(took) for _, took in run(program, 1, *folders * LOADS)][len(folders) :]
    first, second, sealed = (loads[place :: len(folders)] for place in range(len(folders)))
    print(
        f"  load: plain {statistics.median(first):.0f} ms, sealed {statistics.median(sealed):.0f} ms, "
        f"ratio {ratio(sealed, first):.2f}; control plain/plain {ratio(second, first):.2f}"
    )
    for batch in (1, 64):
        file = scratch / f"inputs{batch}"
        file.write_bytes(np.random.default_rng(1).random((batch, *shape), np.float32).tobytes())
        words = []
        for number, signature in ((0, "serving_default"), (1, "serving_default"), (2, "extended")):
            words += question(folders[number], number, signature, file, (batch, *shape))
        lines = [line for line in run(program, rounds, *folders, *words) if line[0] == "asked"]
        times = [[float(took) for _, which, took in lines if int(which) == number] for number in range(3)]
        # The first tenth compiles and warms caches.
        first, second, operator = (each[rounds // 10 :] for each in times)
        over, control = ratio(operator, first), ratio(second, first)
        print(
            f"  batch {batch:2}: plain {statistics.median(first):.2f} ms, "
            f"operator {statistics.median(operator):.2f} ms, ratio {over:.2f}; control plain/plain {control:.2f}; "
            f"without it {over / control:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="how often each is asked")
    parser.add_argument("--only", default="", help="which cases: those whose name contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(Path(folder) / "serve")
        for number, name in enumerate(name for name in CASES if options.only in name):
            scratch = Path(folder, str(number))
            scratch.mkdir()
            measure(program, name, options.rounds, scratch)


if __name__ == "__main__":
    main()
