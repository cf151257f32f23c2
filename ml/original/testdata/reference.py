"""Makes caption models as the original system builds them, with random weights,
and what they say, in the folder that is named:

  masked.keras, unmasked.keras  archives, of an embedding with mask_zero and without
  mixed.keras                   one of a training in float16
  MODEL.weights.h5, MODEL.h5, MODEL_weights.h5
                                the weights of the first two: in the layout of
                                Keras 3, in a whole model of Keras 2's layout,
                                and alone in that layout
  wordtoix.json                 a vocabulary for them
  reference.h5                  features of pictures; 100 prefixes of captions,
                                the picture of each, and the probabilities of the
                                next word by both models; the loss and the
                                gradients of the first one on some captions, one
                                sample a prefix, dropout off
  lambda.keras, pickled.keras, other.keras, other_width.weights.h5
                                what is to be refused

With a second argument the features are the data set "pooled" of that file.
"""
import json
import os
import shutil
import sys
import zipfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # fewer differences between machines

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

folder = sys.argv[1]
random = np.random.default_rng(7)
WIDTH, LENGTH, WORDS, EMBEDDING, HIDDEN, HEADS = 2048, 12, 60, 10, 16, 4


def path(name):
    return os.path.join(folder, name)


def build(mask_zero, hidden=HIDDEN, relu="relu"):
    image = keras.Input((WIDTH,), name="image_features")
    text = keras.Input((LENGTH,), name="text_input")
    x = layers.Dense(hidden, activation=relu)(image)
    x = layers.Dropout(0.3)(x)
    x = layers.LayerNormalization()(x)
    y = layers.Embedding(WORDS + 1, EMBEDDING, mask_zero=mask_zero, trainable=False)(text)
    y = layers.LSTM(hidden, return_sequences=True, dropout=0.3, recurrent_dropout=0.2)(y)
    query = layers.Reshape((1, hidden))(x)
    y = layers.MultiHeadAttention(num_heads=HEADS, key_dim=hidden)(query, y)
    y = layers.GlobalAveragePooling1D()(y)
    y = layers.Concatenate()([y, x])
    y = layers.Dense(hidden, activation="relu")(y)
    y = layers.Dropout(0.5)(y)
    y = layers.Dense(WORDS + 1, activation="softmax", dtype="float32")(y)
    model = keras.Model([image, text], y, name="caption_model")
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy", jit_compile=True)
    return model


def randomise(model):
    for w in model.weights:
        if "seed" in w.path:
            continue
        size = 0.3 if len(w.shape) == 1 else 1.5 / np.sqrt(w.shape[0])
        w.assign(np.asarray(w) * ("gamma" in w.path) + random.normal(0, size, w.shape))


if len(sys.argv) > 2:
    with h5py.File(sys.argv[2]) as f:
        features = f["pooled"][()]
else:
    features = random.uniform(0, 2, (3, WIDTH)).astype("float32")

masked = build(True)
randomise(masked)
unmasked = build(False)
unmasked.set_weights(masked.get_weights())
for name, model in ("masked", masked), ("unmasked", unmasked):
    model.save(path(name + ".keras"))
    model.save_weights(path(name + ".weights.h5"))
    model.save(path(name + ".h5"))
    with h5py.File(path(name + "_weights.h5"), "w") as f:
        legacy_h5_format.save_weights_to_hdf5_group(f, model)

words = sorted(["startseq", "endseq"] + ["word%02d" % i for i in range(WORDS - 2)])
with open(path("wordtoix.json"), "w") as f:
    json.dump({word: i for i, word in enumerate(words, 1)}, f)
start = words.index("startseq") + 1

prefixes = np.zeros((100, LENGTH), "int32")
pictures = np.arange(100, dtype="int32") % len(features)
for i, prefix in enumerate(prefixes):
    n = i % LENGTH + 1  # from the start token alone to all that the model reads
    prefix[:n] = random.integers(1, WORDS + 1, n)
    prefix[0] = start
captions = [random.integers(1, WORDS + 1, n).astype("int32") for n in (3, 6, 5, 9)]
samples, owners, targets = [], [], []
for i, caption in enumerate(captions):
    caption[0] = start
    for n in range(1, len(caption)):
        samples.append(np.pad(caption[:n], (0, LENGTH - n)))
        owners.append(i % len(features))
        targets.append(caption[n])
masked.get_layer(masked.layers[[type(l).__name__ for l in masked.layers].index("Embedding")].name).trainable = True
with tf.GradientTape() as tape:
    predicted = masked([features[owners], np.array(samples)], training=False)
    loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(np.array(targets), predicted))
with h5py.File(path("reference.h5"), "w") as f:
    f["features"], f["prefixes"], f["pictures"] = features, prefixes, pictures
    for name, model in ("masked", masked), ("unmasked", unmasked):
        f["probabilities/" + name] = np.asarray(model([features[pictures], prefixes], training=False))
    f["captions"] = np.array([np.pad(c, (0, LENGTH - len(c))) for c in captions])
    f["loss"] = np.array([loss], "float32")
    for w, gradient in zip(masked.trainable_weights, tape.gradient(loss, masked.trainable_weights)):
        f["gradients/" + w.path] = np.asarray(tf.convert_to_tensor(gradient))

# What is refused: other layers and other settings.
keras.mixed_precision.set_global_policy("mixed_float16")
build(False).save(path("mixed.keras"))
keras.mixed_precision.set_global_policy("float32")
image, text = keras.Input((WIDTH,), name="image_features"), keras.Input((LENGTH,), name="text_input")
y = layers.Lambda(lambda x: x * 2)(unmasked([image, text]))
keras.Model([image, text], layers.GaussianNoise(0.1)(y)).save(path("lambda.keras"))
build(False, relu="tanh").save(path("other.keras"))
shutil.copy(path("unmasked.weights.h5"), path("other_width.weights.h5"))
with h5py.File(path("other_width.weights.h5"), "a") as f:
    del f["layers/dense_1/vars/1"]
    f["layers/dense_1/vars/1"] = np.zeros(HIDDEN + 1, "float32")
with zipfile.ZipFile(path("pickled.keras"), "w") as z:
    z.writestr("config.json", json.dumps({"class_name": "Pickled", "config": {"layers": []}}))
    z.writestr("model.pkl", "not to be opened")
