"""The signatures of an exported classifier: how clients ask, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError
from honeykeras.export import policies, requests
from honeykeras.export.sealed_detector import SealedDetector
from honeykeras.outputs import Logits
from honeykeras.ranges import UNIT, InputRange

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
    input_range: InputRange | None,
    class_names: Sequence[str] | None,
    sealed: SealedDetector | None = None,
    policy: str = "uniform",
) -> Mapping[str, Endpoint]:
    """The functions to export, by the name of their signature, each with what it takes.

    All of them take and give batches. With a detector, all but `extended` answer as the policy says. Nothing that
    clients can list tells of a detector, and neither do errors: all that is refused is refused before the model runs.

    Args:
        model: The classifier.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input: what is beyond is clipped. None clips nothing, and scales
            images to [0, 1].
        class_names: What `classify` calls the classes. Defaults to their numbers.
        sealed: The detector, for the host that is trusted.
        policy: One of `POLICIES`.

    Returns:
        `serving_default`, `classify`, `predict_images` where inputs are images, and `extended` with a detector.
    """
    logits = Logits(model, input_shape, None if sealed is None else sealed.num_classes)
    names = check_class_names(class_names, logits.num_classes)

    # A function of its own, so that it stands in the graph once and not in each signature.
    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(x, training=False)
        answers = {"probabilities": tf.nn.softmax(logits.of_output(outputs))}
        if sealed is not None:
            answers["score"], answers["flag"] = sealed(x, outputs)
        return answers

    def extended(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return run(requests.numbers(inputs, input_shape, input_range))

    def predict(x: tf.Tensor) -> tf.Tensor:
        answers = extended(x)
        if sealed is None or policy == "observe":
            return answers["probabilities"]
        return policies.answer(policy, answers["probabilities"], answers["flag"])

    def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": predict(inputs)}

    def predict_images(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": predict(requests.images(image_bytes, input_shape, input_range or UNIT))}

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = predict(requests.examples(inputs, input_shape))
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


def check_class_names(names: Sequence[str] | None, num_classes: int) -> list[str]:
    """The names of all classes, which are their numbers where none are given.

    Raises:
        InvalidArgumentError: If there are more or fewer, or one is none.
    """
    if names is not None:
        _checks.instance("class_names", names, Iterable, f"{num_classes} names, one for each class")
    names = [str(number) for number in range(num_classes)] if names is None else list(names)
    if len(names) != num_classes or not all(isinstance(name, str) and name for name in names):
        raise InvalidArgumentError(f"`class_names` must be {num_classes} names, one for each class. Received: {names}.")
    return names
