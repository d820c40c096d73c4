"""The signatures of an exported classifier: how clients ask, and what they are told.

Each signature is made of one call of a classifier. Clients get a classifier that answers as the policy says; the
operator's signatures are made of one that answers as the model does, and keeps what the detector found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from honeykeras import _checks
from honeykeras._messages import reason
from honeykeras.errors import InvalidArgumentError
from honeykeras.export import policies, requests
from honeykeras.export.sealed_detector import SealedDetector
from honeykeras.outputs import Logits
from honeykeras.ranges import UNIT, InputRange

DEFAULT = "serving_default"
IMAGES = "predict_images"
CLASSIFY = "classify"
EXTENDED = "extended"
EVIDENCE = "extended_evidence"


class Endpoint(NamedTuple):
    """A signature: a function of tensors that gives a dictionary of tensors, what it takes, and by which API."""

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Sequence[keras.InputSpec | tf.TensorSpec]
    is_classification: bool = False


Classify = Callable[..., tf.Tensor]
"""A classifier as signatures call it: inputs, float32 in the model's range, to what the model says of them."""

OwnSignatures = Callable[[Classify], Mapping[str, Any]]
"""A user's function: of a classifier, to `tf.function`s with an input signature, by the name of their signature."""

_OUTPUTS, _PROBABILITIES = "outputs", "probabilities"
# What TensorFlow calls the one output of a function.
_OUTPUT = "output_0"
# What TensorFlow decodes images to.
_IMAGE_CHANNELS = (1, 3, 4)


def make_signatures(
    model: keras.Model,
    input_shape: tuple[int, ...],
    input_range: InputRange | None,
    class_names: Sequence[str] | None,
    sealed: SealedDetector | None = None,
    policy: str = policies.DEFAULT,
    own: OwnSignatures | None = None,
) -> Mapping[str, Endpoint]:
    """The functions to export, by the name of their signature, each with what it takes.

    All of them take and give batches. With a detector, clients are answered as the policy says, and each of their
    signatures has a twin that answers as the model does. Nothing that clients can list in the artifact that is handed
    out tells of a detector, and neither do errors: all that is refused is refused before the model runs.

    Args:
        model: The classifier.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input: what is beyond is clipped. None clips nothing, and scales
            images to [0, 1].
        class_names: What `classify` calls the classes. Defaults to their numbers.
        sealed: The detector, for the host that is trusted.
        policy: One of `POLICIES`.
        own: Signatures of the user's, instead of those of this package.

    Returns:
        `serving_default`, `classify`, and `predict_images` where inputs are images, or the user's own. With a detector
        also `extended`, of `inputs` to `probabilities`, `score` and `flag`; and for each signature `NAME` that it is
        not the twin of, `extended_NAME`, with `score` and `flag` beside what that gives. With an observer also
        `extended_evidence` and `extended_evidence_NAME`, as these and with what evidence is made of.

    Raises:
        InvalidArgumentError: If class names do not fit, or the user's signatures cannot be used.
    """
    core = _Core(model, input_shape, input_range, sealed)
    names = check_class_names(class_names, core.num_classes)

    def standard(predict: Classify) -> dict[str, Endpoint]:
        return _standard(predict, input_shape, input_range or UNIT, names)

    def users(classify: Classify) -> dict[str, Endpoint]:
        return {} if own is None else _traced(own, classify)

    build, form = (standard, _PROBABILITIES) if own is None else (users, _OUTPUTS)
    if sealed is None:
        return build(lambda x, model=None: core(x, model)[form])
    endpoints = build(lambda x, model=None: core.public(x, policy, form, model))

    def twins(prefix: str, evidence: bool) -> dict[str, Endpoint]:
        operator = _Operator(core, form, evidence)
        found = {name: operator.with_verdict(each) for name, each in build(operator).items()}
        if own is None:
            first = found.pop(DEFAULT)
        else:
            plain = _Operator(core, _PROBABILITIES, evidence)
            first = plain.with_verdict(standard(plain)[DEFAULT])
        return {prefix: first, **{f"{prefix}_{name}": twin for name, twin in found.items()}}

    operators = twins(EXTENDED, evidence=False)
    observing = {} if sealed.observer is None else twins(EVIDENCE, evidence=True)
    if operators.keys() & observing.keys():
        raise InvalidArgumentError(
            "No signature may be called `evidence`, as what ledgers need is told by `extended_evidence`. "
            f"Received: signatures {sorted(endpoints)}."
        )
    return {**endpoints, **operators, **observing}


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


class _Core:
    """The classifier and its detector, in the graph once however many signatures there are."""

    def __init__(
        self,
        model: keras.Model,
        input_shape: tuple[int, ...],
        input_range: InputRange | None,
        sealed: SealedDetector | None,
    ) -> None:
        logits = Logits(model, input_shape, None if sealed is None else sealed.num_classes)
        self._input_shape, self._input_range = input_shape, input_range
        self.num_classes = logits.num_classes

        # Functions of their own, so that they stand in the graph once and not in each signature.
        @tf.function(autograph=False)
        def run(x: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = model(x, training=False)
            answers = {_OUTPUTS: tf.cast(outputs, tf.float32), _PROBABILITIES: tf.nn.softmax(logits.of_output(outputs))}
            if sealed is not None:
                answers["score"], answers["flag"] = sealed(x, outputs)
            return answers

        @tf.function(autograph=False)
        def observe(x: tf.Tensor, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {} if sealed is None else sealed.observe(x, logits.of_output(outputs))

        self._run, self._observe = run, observe

    def __call__(self, x: tf.Tensor, model: keras.Model | None = None, evidence: bool = False) -> dict[str, tf.Tensor]:
        """What the model says and the detector finds; or what another model says, which has the same classes.

        Args:
            x: Inputs, as they arrived.
            model: The other model, if it is to say it.
            evidence: Whether what evidence is made of is found, too.
        """
        x = requests.numbers(x, self._input_shape, self._input_range)
        answers = self._run(x)
        if evidence:
            answers = {**answers, **self._observe(x, answers[_OUTPUTS])}
        return answers if model is None else {**answers, _OUTPUTS: tf.cast(model(x, training=False), tf.float32)}

    def public(self, x: tf.Tensor, policy: str, form: str, model: keras.Model | None) -> tf.Tensor:
        """What clients are told."""
        answers = self(x, model)
        return answers[form] if policy == "observe" else policies.answer(policy, answers[form], answers["flag"])


class _Operator:
    """A classifier that answers as the model does, and keeps what the detector found for the signature to tell."""

    def __init__(self, core: _Core, form: str, evidence: bool) -> None:
        self._core, self._form, self._evidence = core, form, evidence
        self._found: list[dict[str, tf.Tensor]] = []

    def __call__(self, x: tf.Tensor, model: keras.Model | None = None) -> tf.Tensor:
        self._found.append(self._core(x, model, self._evidence))
        return self._found[-1][self._form]

    def with_verdict(self, endpoint: Endpoint) -> Endpoint:
        """A signature, with `score`, `flag` and what evidence is made of beside what it gives."""

        def extended(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            self._found.clear()
            outputs = endpoint.function(*inputs)
            found = [{name: each[name] for name in each.keys() - {_OUTPUTS, _PROBABILITIES}} for each in self._found]
            if len(found) != 1 or found[0].keys() & outputs.keys():
                raise InvalidArgumentError(
                    "A signature must call the classifier once, and give nothing called `score` or `flag`"
                    f"{' or `evidence_...`' if self._evidence else ''}. Received: one that calls it {len(found)} times "
                    f"and gives {sorted(outputs)}."
                )
            return {**outputs, **found[0]}

        return Endpoint(extended, endpoint.inputs)


def _standard(
    predict: Classify, input_shape: tuple[int, ...], image_range: InputRange, names: Sequence[str]
) -> dict[str, Endpoint]:
    """The signatures of this package, of a function from inputs to probabilities."""

    def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {_PROBABILITIES: predict(inputs)}

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = predict(requests.examples(inputs, input_shape))
        return {"classes": tf.tile(tf.constant([names]), [tf.shape(scores)[0], 1]), "scores": scores}

    def predict_images(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {_PROBABILITIES: predict(requests.images(image_bytes, input_shape, image_range))}

    floats = keras.InputSpec(shape=(None, *input_shape), dtype="float32", name="inputs")
    endpoints = {
        DEFAULT: Endpoint(answer, [floats]),
        CLASSIFY: Endpoint(classify, [tf.TensorSpec([None], tf.string, name="inputs")], is_classification=True),
    }
    if len(input_shape) == 3 and input_shape[2] in _IMAGE_CHANNELS:
        endpoints[IMAGES] = Endpoint(predict_images, [tf.TensorSpec([None], tf.string, name="image_bytes")])
    return endpoints


def _traced(own: OwnSignatures, classify: Classify) -> dict[str, Endpoint]:
    """A user's signatures, each with names for what it takes and gives."""
    # Users' functions may have Python's `if` on tensors; what they call here has none.
    wrapped = tf.autograph.experimental.do_not_convert(lambda x, model=None: classify(x, model))
    try:
        made = own(wrapped)
    except Exception as error:  # Anybody's code.
        raise _unusable(f"{type(error).__name__}: {reason(error)}") from error
    if not isinstance(made, Mapping) or DEFAULT not in made:
        raise _unusable(type(made).__name__ if not isinstance(made, Mapping) else f"signatures {sorted(made)}")
    return {name: _endpoint(name, function) for name, function in made.items()}


def _endpoint(name: str, function: Any) -> Endpoint:
    """A `tf.function` as one that gives a dictionary, inlined: what the classifier finds in it is needed outside."""
    specs = getattr(function, "input_signature", None)
    if not isinstance(name, str) or name.startswith(EXTENDED) or specs is None:
        raise _unusable(f"{_checks.shown(name)}, {type(function).__name__}")
    if not all(isinstance(spec, tf.TensorSpec) for spec in specs):
        raise _unusable(f"{name!r}, which takes more than tensors")
    arguments = inspect.signature(function.python_function).parameters
    named = [tf.TensorSpec(each.shape, each.dtype, each.name or at) for each, at in zip(specs, arguments, strict=False)]

    def run(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = tf.autograph.to_graph(function.python_function)(*inputs)
        return dict(outputs) if isinstance(outputs, Mapping) else {_OUTPUT: outputs}

    return Endpoint(run, named)


def _unusable(received: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"`signatures` must return a dictionary of tf.functions with an `input_signature`, {DEFAULT!r} among them and "
        f"none called {EXTENDED}... Received: {received}."
    )
