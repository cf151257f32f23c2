"""Makes the weights, pictures and outputs that the encoders are compared with.

It builds both encoders with Keras, gives them random weights with batch-norm
statistics that fit them, and writes into the folder that is named

  NAME.weights.h5      the weights in the layout of Keras 3
  NAME_notop.h5        the same in the layout of Keras 2
  NAME_reference.h5    pictures (0…255), the feature map and its average

for NAME in inceptionv3, efficientnetb3 (Keras' graph for weights=None) and
efficientnetb3_imagenet (its graph for weights="imagenet", with one layer more).
efficientnetb3_published.h5 has the weights of the last one as the published
file has them: written by Keras 2, with its names, and without that layer.
"""
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # fewer differences between machines

import h5py
import keras
import numpy as np
from keras import layers
from keras.src.applications import efficientnet
from keras.src.legacy.saving import legacy_h5_format

folder = sys.argv[1]
random = np.random.default_rng(3)


def path(name):
    return os.path.join(folder, name)


def pictures(side):
    """Two pictures of coloured waves with noise: unlike noise alone, they have
    something for every layer to see."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [
        [128 + 80 * np.sin(random.uniform(3, 40) * x + random.uniform(3, 40) * y + random.uniform(0, 6)) for _ in range(3)]
        for _ in range(2)
    ]
    noisy = np.moveaxis(np.array(waves), 1, -1) + random.normal(0, 15, (2, side, side, 3))
    return np.clip(np.rint(noisy), 0, 255).astype("float32")


def randomise(model, batch):
    """Replaces the initial values that would hide an error: ones and zeros."""
    norms = [l for l in model.layers if isinstance(l, layers.BatchNormalization)]
    for l in model.layers:
        if isinstance(l, layers.Conv2D) and l.use_bias:
            l.bias.assign(random.normal(0, 0.1, l.bias.shape))
        if isinstance(l, layers.Normalization):
            # ImageNet's mean, and its deviation where the variance belongs.
            l.adapt_mean.assign([0.485, 0.456, 0.406])
            l.adapt_variance.assign([0.229, 0.224, 0.225])
            l.finalize_state()
        if isinstance(l, layers.Dropout):
            l.rate = 0.0
    for l in norms:
        l.beta.assign(random.normal(0, 0.2, l.beta.shape))
        if l.scale:
            l.gamma.assign(random.uniform(0.6, 1.4, l.gamma.shape))
        l.momentum = 0.0
    model(batch, training=True)  # the statistics are now the batch's
    for l in norms:
        l.moving_mean.assign(np.asarray(l.moving_mean) + random.normal(0, 0.05, l.moving_mean.shape))
        l.moving_variance.assign(np.asarray(l.moving_variance) * random.uniform(0.7, 1.5, l.moving_variance.shape) + 1e-3)


def write(name, model, raw, batch):
    model.save_weights(path(name + ".weights.h5"))
    with h5py.File(path(name + "_notop.h5"), "w") as f:
        legacy_h5_format.save_weights_to_hdf5_group(f, model)
    features, pooled = keras.Model(model.input, [model.layers[-2].output, model.output])(batch, training=False)
    with h5py.File(path(name + "_reference.h5"), "w") as f:
        f["pictures"], f["features"], f["pooled"] = raw, np.asarray(features), np.asarray(pooled)


def publish(source, target):
    """Copies a file of Keras 2's layout under the names that Keras 2 gave."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        kept = [n for n in old.attrs["layer_names"] if n != "rescaling_1"]
        new.attrs["layer_names"] = np.array([n.encode() for n in kept])
        new.attrs["backend"], new.attrs["keras_version"] = np.bytes_("tensorflow"), np.bytes_("2.4.3")
        for layer in kept:
            group = new.create_group(layer)
            names = []
            for weight in old[layer].attrs["weight_names"]:
                name = weight.replace("dwconv/kernel", "dwconv/depthwise_kernel") + ":0"
                group[name] = old[layer][weight][()]
                names.append(name.encode())
            group.attrs["weight_names"] = np.array(names) if names else np.zeros(0)


keras.utils.set_random_seed(5)
raw = pictures(299)
model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3))
batch = keras.applications.inception_v3.preprocess_input(raw.copy())
randomise(model, batch)
write("inceptionv3", model, raw, batch)

keras.backend.clear_session()
raw = pictures(300)
model = keras.applications.EfficientNetB3(include_top=False, weights=None, pooling="avg", input_shape=(300, 300, 3))
randomise(model, raw)
write("efficientnetb3", model, raw, raw)

# Keras has another graph for the published file, and loads the file into it:
# ours stands in for the download. The second time it is the one that is kept.
published = path("efficientnetb3_published.h5")
efficientnet.file_utils.get_file = lambda *args, **kwargs: published


def imagenet():
    keras.backend.clear_session()
    return keras.applications.EfficientNetB3(include_top=False, weights="imagenet", pooling="avg", input_shape=(300, 300, 3))


publish(path("efficientnetb3_notop.h5"), published)
model = imagenet()
randomise(model, raw)
write("efficientnetb3_imagenet", model, raw, raw)
publish(path("efficientnetb3_imagenet_notop.h5"), published)
pooled = np.asarray(model(raw, training=False))
again = np.asarray(imagenet()(raw, training=False))
assert np.abs(pooled - again).max() < 1e-5, "Keras reads the published layout otherwise"
