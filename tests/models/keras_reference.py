"""EfficientNet-B0 of keras.applications with random weights: its files and what it computes.

    KERAS_BACKEND=jax python -m tests.models.keras_reference FOLDER CHANNELS SIDE

Runs in a process of its own: Keras chooses its backend when it is imported, and keeps none of the
rules that our tests run under. Writes into FOLDER the network as Keras saves it,

    whole.h5            a model: `model_weights/<layer>/<tensor>`
    nested.h5           a model that is one layer of another: `model_weights/<model>/<layer>/...`
    own.weights.h5      the weights of Keras 3

and reference.npz with an image, the activation at block6a_activation, and the logits.
"""

import sys
from pathlib import Path

import numpy as np

CLASSES = 7


def main(folder: Path, channels: int, side: int) -> None:
    """See the module."""
    import keras

    # the input's own normalisation is for photographs: with three channels it is there
    model = keras.applications.EfficientNetB0(
        weights=None,
        input_shape=(side, side, channels),
        classes=CLASSES,
        classifier_activation=None,
    )
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if not layer.name.startswith(("normalization", "rescaling")):
            layer.set_weights([_draw(rng, layer.name, array) for array in layer.get_weights()])
    model.save(folder / "whole.h5")
    model.save_weights(folder / "own.weights.h5")
    inside = keras.Input((side, side, channels))
    keras.Model(inside, model(inside)).save(folder / "nested.h5")
    start = "stem_conv_pad"
    outputs = [model.get_layer("block6a_activation").output, model.output]
    network = keras.Model(model.get_layer(start).input, outputs)
    image = rng.standard_normal((1, side, side, channels)).astype(np.float32)
    activation, logits = network.predict(image, verbose=0)
    np.savez(folder / "reference.npz", image=image, activation=activation, logits=logits)


def _draw(rng: np.random.Generator, name: str, array: np.ndarray) -> np.ndarray:
    """Weights with which every layer's output is of the order of 1 and none is idle."""
    if array.ndim > 1:
        fan_in = array.shape[0] * array.shape[1] if "dwconv" in name else array[..., 0].size
        return rng.standard_normal(array.shape) * np.sqrt(2 / fan_in)
    if name.endswith("bn"):
        return rng.uniform(0.5, 1.5, array.shape)
    return rng.standard_normal(array.shape) * 0.1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
