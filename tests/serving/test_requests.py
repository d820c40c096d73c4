"""Whatever a client sends: an answer or an error, never the server's end, and the same from every artifact."""

import itertools
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import export
from honeykeras.export import graph

SHAPE = (8, 8, 1)
IMAGE = np.linspace(0, 255, 64).astype(np.uint8).reshape(SHAPE)
FLOATS = (IMAGE / np.float32(255)).astype(np.float32)
PNG = tf.io.encode_png(IMAGE).numpy()
# A signature and a number, or what an operation does and a number.
NEUTRAL = r"(([A-Za-z0-9]+|serving_default|predict_images)_\d+/?)+"
PUBLIC = ("serving_default", "predict_images", "classify")


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def strings(*values):
    return np.array(values, object)


def png_that_claims(width, height):
    """A header without an image."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def example(name="inputs", **values):
    feature = {name: tf.train.Feature(**values)} if values else {}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def floats(count):
    return {"float_list": tf.train.FloatList(value=[0.5] * count)}


def image_file(shape, encode):
    return encode(np.zeros(shape, np.uint8)).numpy()


WRONG_SHAPES = [
    (), (0,), (1,), (64,), (0, 0), (1, 2), (1, 64), (8, 8), (1, 8, 8), (8, 8, 1), (0, 8, 8), (1, 9, 9, 1), (1, 7, 8, 1),
    (1, 8, 7, 1), (1, 8, 8, 3), (1, 8, 8, 0), (1, 0, 8, 1), (1, 0, 0, 0), (1, 1, 8, 8), (2, 16, 16, 1), (0, 9, 9, 1),
    (0, 8, 8, 1), (0, 0, 0, 0), (1, 8, 8, 1, 1), (1, 1, 8, 8, 1), (1, 1, 1, 1, 1, 1),
]  # fmt: skip
MALFORMED = {
    "serving_default": [
        *(zeros(*shape) for shape in WRONG_SHAPES),
        zeros(1, *SHAPE, dtype=np.float64),
        zeros(1, *SHAPE, dtype=np.int32),
        strings(b"0"),
    ],
    "predict_images": [
        np.array(PNG, object),
        strings(),
        strings(PNG, PNG).reshape(1, 2),
        strings(b""),
        strings(b"nonsense"),
        strings(PNG[:8]),
        strings(PNG[:-20]),
        strings(PNG[:40] + b"\0\0\0\0" + PNG[44:]),
        strings(PNG, b"", PNG),
        strings(png_that_claims(8, 8)),
        strings(png_that_claims(20_000, 20_000)),
        strings(png_that_claims(2**32 - 1, 2**32 - 1)),
        strings(image_file((9, 9, 1), tf.io.encode_png)),
        strings(image_file((8, 9, 1), tf.io.encode_jpeg)),
        strings(image_file(SHAPE, tf.io.encode_jpeg)[:30]),
        strings(b"\xff\xd8\xff"),
        strings(b"GIF89a" + struct.pack("<HH", 8, 8) + bytes(30)),
        strings(b"BM" + bytes(60)),
        zeros(1),
    ],
    "classify": [
        np.array(example(**floats(64)), object),
        strings(),
        strings(example(**floats(64)), example(**floats(64))).reshape(2, 1),
        strings(b""),
        strings(b"nonsense"),
        strings(example()),
        strings(example("other", **floats(64))),
        strings(example(**floats(63))),
        strings(example(**floats(65))),
        strings(example(int64_list=tf.train.Int64List(value=[0] * 64))),
        strings(example(bytes_list=tf.train.BytesList(value=[b"0"] * 64))),
        strings(example(**floats(64)), example(**floats(1))),
        zeros(1),
    ],
}  # fmt: skip
# Each with one that is right after it: what went before must not have ended anything.
RIGHT = {"serving_default": FLOATS[None], "predict_images": strings(PNG), "classify": strings(example(**floats(64)))}


@pytest.fixture(scope="module")
def answers(server, keyed, public):
    """What each artifact says to each malformed request of a signature, and to a right one after them."""
    asked = [(number, name, x) for number in (0, 1) for name in PUBLIC for x in [*MALFORMED[name], RIGHT[name]]]
    said = iter(server.ask([keyed, public], asked))
    return [{name: list(itertools.islice(said, len(MALFORMED[name]) + 1)) for name in PUBLIC} for _ in range(2)]


class TestMalformed:
    def test_are_some_forty(self):
        assert sum(map(len, MALFORMED.values())) > 40

    @pytest.mark.parametrize("name", PUBLIC)
    def test_get_an_error_each_and_end_nothing(self, answers, name):
        for answered in answers:
            *refused, right = answered[name]
            assert all(isinstance(error, str) for error in refused), refused
            assert right.keys() in ({"probabilities"}, {"classes", "scores"})

    @pytest.mark.parametrize("name", PUBLIC)
    def test_get_the_same_error_of_both_artifacts(self, answers, name):
        sealed, public = (answered[name][:-1] for answered in answers)
        assert sealed == public

    @pytest.mark.parametrize("name", PUBLIC)
    def test_get_an_error_that_names_no_layer(self, answers, name):
        nodes = re.findall(r"\{\{(?:function_)?node ([^}]*)\}\}", " ".join(answers[0][name][:-1]))
        assert nodes
        for node in nodes:
            assert re.fullmatch(NEUTRAL, node), node

    def test_of_the_operators_signature_end_nothing_either(self, server, keyed):
        asked = [(0, "extended", x) for x in [*MALFORMED["serving_default"], RIGHT["serving_default"]]]
        *refused, right = server.ask([keyed], asked)
        assert all(isinstance(error, str) for error in refused)
        assert set(right) == {"probabilities", "score", "flag"}


class TestRange:
    @pytest.mark.parametrize("value", [1.01, -0.01, 1 + 5e-7, 7, np.inf, -np.inf, np.nan])
    def test_what_is_beyond_is_clipped_alike_by_both(self, server, keyed, public, digits, value):
        clean = digits.test.x[:40]
        beyond = clean.copy()
        beyond[:, 0, 0, 0] = value
        clipped = np.nan_to_num(np.clip(beyond, 0, 1))
        asked = [(number, "serving_default", x) for number in (0, 1) for x in (beyond, clipped)]
        asked += [(0, "extended", beyond), (0, "extended", clipped)]
        *said, judged, judged_clipped = server.ask([keyed, public], asked)
        for outside, inside in (said[:2], said[2:], (judged, judged_clipped)):
            for name in outside:
                np.testing.assert_array_equal(outside[name], inside[name])
        unflagged = judged["flag"] == 0
        assert unflagged.mean() > 0.5
        np.testing.assert_allclose(said[0]["probabilities"][unflagged], said[2]["probabilities"][unflagged], atol=1e-6)

    def test_what_has_no_stated_range_is_left_as_it_is(self, server, classifier, tmp_path):
        folder = export.save(classifier, tmp_path / "m")
        (answer,) = server.ask([folder], [(0, "serving_default", 5 * FLOATS[None])])
        expected = tf.nn.softmax(classifier.predict(5 * FLOATS[None], verbose=0)).numpy()
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


class TestImages:
    @pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
    def test_of_the_right_size_are_decoded(self, server, public, encode):
        content = encode(IMAGE).numpy()
        pixels = tf.io.decode_image(content).numpy()
        said, expected = server.ask(
            [public],
            [(0, "predict_images", strings(content)), (0, "serving_default", (pixels / np.float32(255))[None])],
        )
        np.testing.assert_allclose(said["probabilities"], expected["probabilities"], atol=1e-6)

    def test_that_would_fill_the_memory_are_refused_by_their_header(self, server, public):
        """A file of 390 kB can hold an image of 400 MB."""
        (error,) = server.ask([public], [(0, "predict_images", strings(png_that_claims(20_000, 20_000)))])
        assert "assertion failed: [Images must have 8 x 8 pixels]" in error


class TestNames:
    def test_within_functions_are_kinds_and_numbers(self, guarded, public):
        for folder in (guarded, public):
            library = graph.read(folder).graph_def.library
            for function in library.function:
                assert re.fullmatch(
                    r"((extended_)?(predict_images|classify)|serving_default|extended|shared|other)_\d+",
                    function.signature.name,
                )
                for node in function.node_def:
                    assert re.fullmatch(rf"{node.op}_\d+", node.name)
                    assert not node.HasField("experimental_debug_info")
                for argument in (*function.signature.input_arg, *function.signature.output_arg):
                    assert re.fullmatch(r"(argument|result)_\d+", argument.name)

    def test_of_layers_of_the_second_network_are_nowhere(self, guarded, detector):
        content = (guarded / "saved_model.pb").read_bytes()
        layers = {layer.name for network in detector.networks for layer in network._flatten_layers()}
        # One such as "add" is a part of many a word.
        names = {name for name in layers if name[-1].isdecimal()}
        assert len(names) > 5
        assert [name for name in names if name.encode() in content] == []
