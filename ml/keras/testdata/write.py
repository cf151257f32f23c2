"""Writes weights of a small network into the folder that is named, in each
layout and with one thing wrong in each of the other files.

The network is a convolution "one", then two branches, "left" of one convolution
and "right" of two, and a batch normalisation "norm" after they are joined.
Keras has "right_1" before "left": it is farther from the end. The values of a
tensor are its number in this order, plus a tenth of its place in the layer."""
import os
import sys

import h5py
import numpy as np

folder = sys.argv[1]
LAYERS = [
    ("one", "conv2d", {"kernel": (1, 1, 3, 2)}),
    ("right_1", "conv2d", {"kernel": (1, 1, 2, 2)}),
    ("left", "conv2d", {"kernel": (1, 1, 2, 2), "bias": (2,)}),
    ("right_2", "depthwise_conv2d", {"kernel": (1, 1, 2, 1)}),
    ("joined", "concatenate", {}),
    ("norm", "batch_normalization", {"beta": (4,), "count": ()}),
]


def value(i, j, name, shape):
    return np.full(shape, 7, "i8") if name == "count" else np.full(shape, i + j / 10, "f4")


def legacy(name, layers=LAYERS, pieces=1, keras2=True):
    with h5py.File(os.path.join(folder, name), "w") as f:
        # The names that Keras makes up, of a process with other models before.
        names = ["layer_%d" % (40 + i) for i in range(len(layers))]
        if pieces == 1:
            f.attrs["layer_names"] = np.array([n.encode() for n in names])
        for i, piece in enumerate(np.array_split(names, pieces)):
            if pieces > 1:
                f.attrs["layer_names%d" % i] = np.array([n.encode() for n in piece])
        f.attrs["keras_version"] = np.bytes_("2.4.3") if keras2 else "3.15.1"
        for i, (layer, (_, kind, weights)) in enumerate(zip(names, layers)):
            group = f.create_group(layer)
            listed = []
            for j, (weight, shape) in enumerate(weights.items()):
                prefix = "depthwise_" if keras2 and kind.startswith("depthwise") else ""
                path = layer + "/" + prefix + weight + (":0" if keras2 else "")
                group[path] = value(i, j, weight, shape)
                listed.append(path.encode())
            group.attrs["weight_names"] = np.array(listed)


def numbered(name, layers=LAYERS):
    with h5py.File(os.path.join(folder, name), "w") as f:
        counts = {}
        for i, (_, kind, weights) in enumerate(layers):
            n = counts[kind] = counts.get(kind, -1) + 1
            group = f.create_group("layers/" + kind + ("_%d" % n if n else "") + "/vars")
            for j, (weight, shape) in enumerate(weights.items()):
                group[str(j)] = value(i, j, weight, shape)


legacy("keras2.h5")
legacy("pieces.h5", pieces=3)
legacy("keras3_notop.h5", keras2=False)
numbered("keras3.weights.h5")

wrong = [list(l) for l in LAYERS]
wrong[0][2] = {"kernel": (1, 1, 3, 4)}  # another shape
wrong[2][2] = {"kernel": (1, 1, 2, 2)}  # no bias
wrong[5][2] = {"gamma": (4,), "count": ()}  # another name
legacy("wrong.h5", wrong + [["more", "dense", {"kernel": (2, 2)}]])
legacy("missing.h5", LAYERS[:4])
numbered("wrong.weights.h5", wrong[:5] + [["more", "dense", {"kernel": (2, 2)}]])
with h5py.File(os.path.join(folder, "other.h5"), "w") as f:
    f["x"] = np.zeros(3, "f4")
with h5py.File(os.path.join(folder, "keras2.h5")) as whole, h5py.File(os.path.join(folder, "model.h5"), "w") as f:
    whole.copy(whole["/"], f, "model_weights")
with h5py.File(os.path.join(folder, "keras2.h5")) as whole, h5py.File(os.path.join(folder, "lost.h5"), "w") as f:
    whole.copy(whole["/"], f, "model_weights")
    del f["model_weights/layer_41"]
