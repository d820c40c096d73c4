"""The signatures of an exported classifier: how clients ask, and what they are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError
from honeykeras.export import policies
from honeykeras.export.sealed_detector import SealedDetector
from honeykeras.outputs import Logits

DEFAULT = "serving_default"
IMAGES = "predict_images"
CLASSIFY = "classify"
EXTENDED = "extended"

Endpoint = tuple[Callable[[tf.Tensor], dict[str, tf.Tensor]], keras.InputSpec | tf.TensorSpec]

# What TensorFlow decodes images to.
_IMAGE_CHANNELS = (1, 3, 4)


def make_signatures(
    model: keras.Model,
    input_shape: tuple[int, ...],
    input_range: _checks.InputRange,
    class_names: Sequence[str] | None,
    sealed: SealedDetector | None = None,
    policy: str = "uniform",
) -> Mapping[str, Endpoint]:
    """The functions to export, by the name of their signature, each with what it takes.

    All of them take and give batches. With a detector, all but `extended` answer as the policy says. Nothing that
    clients can list tells of a detector.

    Args:
        model: The classifier.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input.
        class_names: What `classify` calls the classes. Defaults to their numbers.
        sealed: The detector, for the host that is trusted.
        policy: One of `POLICIES`.

    Returns:
        `serving_default`, `classify`, `predict_images` where inputs are images, and `extended` with a detector.
    """
    logits = Logits(model, input_shape)
    names = _class_names(class_names, logits.num_classes)

    # A function of its own, so that it stands in the graph once and not in each signature.
    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(x, training=False)
        answers = {"probabilities": tf.nn.softmax(logits.of_output(outputs))}
        if sealed is not None:
            answers["score"], answers["flag"] = sealed(x, outputs)
        return answers

    def predict(x: tf.Tensor) -> tf.Tensor:
        answers = run(x)
        if sealed is None or policy == "observe":
            return answers["probabilities"]
        return policies.answer(policy, answers["probabilities"], answers["flag"])

    def extended(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return run(inputs)

    def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": predict(inputs)}

    def predict_images(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": predict(_decode(image_bytes, input_shape, input_range))}

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        feature = tf.io.FixedLenFeature([math.prod(input_shape)], tf.float32)
        flat = tf.io.parse_example(inputs, {"inputs": feature})["inputs"]
        scores = predict(tf.reshape(flat, [-1, *input_shape]))
        return {"classes": tf.tile(tf.constant([names]), [tf.shape(scores)[0], 1]), "scores": scores}

    floats = keras.InputSpec(shape=(None, *input_shape), dtype="float32", name="inputs")
    endpoints: dict[str, Endpoint] = {
        DEFAULT: (answer, floats),
        CLASSIFY: (classify, tf.TensorSpec([None], tf.string, name="inputs")),
    }
    if len(input_shape) == 3 and input_shape[2] in _IMAGE_CHANNELS:
        endpoints[IMAGES] = (predict_images, tf.TensorSpec([None], tf.string, name="image_bytes"))
    if sealed is not None:
        endpoints[EXTENDED] = (extended, floats)
    return endpoints


def _class_names(names: Sequence[str] | None, num_classes: int) -> list[str]:
    names = [str(number) for number in range(num_classes)] if names is None else list(names)
    if len(names) != num_classes or not all(isinstance(name, str) and name for name in names):
        raise InvalidArgumentError(f"`class_names` must be {num_classes} names, one for each class. Received: {names}.")
    return names


def _decode(image_bytes: tf.Tensor, input_shape: tuple[int, ...], input_range: _checks.InputRange) -> tf.Tensor:
    """Images of PNG, JPEG, BMP or GIF files that have the size of inputs, in their range."""

    def decode_one(content: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(content, channels=input_shape[2], expand_animations=False)
        return tf.ensure_shape(image, input_shape)

    # Kernels that decode are the CPU's alone; scaling is not.
    pixels = tf.map_fn(decode_one, image_bytes, fn_output_signature=tf.TensorSpec(input_shape, tf.uint8))
    low, high = (tf.constant(end, tf.float32) for end in input_range)
    return low + tf.cast(pixels, tf.float32) / 255 * (high - low)
