"""Networks of the kinds that people serve: plain Keras, compiled, each a function of input shape and number of classes.

    honeykeras train --model examples/models/networks.py:resnet20 --augment examples/models/networks.py:shifted ...

Nothing in them knows of honeypots. Inputs lie in [0, 1].
"""

import keras
from keras import layers


def _compiled(model: keras.Model, learning_rate: float = 1e-3) -> keras.Model:
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _residual(x, filters: int, strides: int = 1):
    y = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    if strides > 1:
        x = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


def _resnet(input_shape, num_classes: int, blocks: int, first_strides: int = 1) -> keras.Model:
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(16, 3, first_strides, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(blocks):
            x = _residual(x, filters, strides=2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return _compiled(keras.Model(inputs, layers.Dense(num_classes)(x)))


def resnet20(input_shape, num_classes: int) -> keras.Model:
    """He et al. 2015, Deep Residual Learning, section 4.2, with batch normalisation."""
    return _resnet(input_shape, num_classes, blocks=3)


def resnet8_large(input_shape, num_classes: int) -> keras.Model:
    """A shallower one for larger images, which it halves at once."""
    return _resnet(input_shape, num_classes, blocks=1, first_strides=2)


def _mobilenet(input_shape, num_classes: int, *first: keras.Layer) -> keras.Model:
    inputs = x = keras.Input(input_shape)
    for layer in (*first, layers.Rescaling(2.0, -1.0)):
        x = layer(x)
    network = keras.applications.MobileNetV3Small(
        input_shape=input_shape,
        weights=None,
        classes=num_classes,
        classifier_activation=None,
        include_preprocessing=False,
    )
    return _compiled(keras.Model(inputs, network(x)))


def mobilenet(input_shape, num_classes: int) -> keras.Model:
    """MobileNetV3Small of `keras.applications`, with augmentation as layers of the model."""
    return _mobilenet(input_shape, num_classes, layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1))


def mobilenet_plain(input_shape, num_classes: int) -> keras.Model:
    """The same without augmentation."""
    return _mobilenet(input_shape, num_classes)


def transformer(input_shape, num_classes: int) -> keras.Model:
    """A small vision transformer whose patches overlap (Hassani et al. 2021, Compact Transformers)."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(64, 3, 2, padding="same")(x)
    x = layers.Reshape((-1, 64))(x)
    for _ in range(4):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(y, y)])
        y = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(64)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return _compiled(keras.Model(inputs, layers.Dense(num_classes)(x)))


def small_cnn(input_shape, num_classes: int) -> keras.Model:
    """Two convolutions, as in many a tutorial."""
    model = keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(32, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(num_classes),
        ]
    )
    return _compiled(model)


def perceptron(input_shape, num_classes: int) -> keras.Model:
    """For tables."""
    hidden = [layers.Dense(64, activation="relu"), layers.Dense(64, activation="relu")]
    return _compiled(keras.Sequential([keras.Input(input_shape), *hidden, layers.Dense(num_classes)]))


shifted = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)])
"""Augmentation for the pipeline."""
