"""Writes HDF5 files with h5py into the folder that is named, and prints what is
in them as JSON: what package hdf5 has to read, and what it has to refuse."""
import json
import os
import sys

import h5py
import numpy as np

folder = sys.argv[1]
expected = {"datasets": {}, "texts": {}, "numbers": {}}


def path(name):
    return os.path.join(folder, name)


def add(group, name, values, **options):
    d = group.create_dataset(name, data=values, **options)
    kind = "floats" if d.dtype.kind == "f" else "integers"
    expected["datasets"][d.name[1:]] = {"shape": list(d.shape), kind: [v.item() for v in np.asarray(d[()]).ravel()]}


def attribute(group, name, values, kind):
    group.attrs[name] = values
    key = (group.name + "/" + name).lstrip("/")
    values = [values] if isinstance(values, (str, bytes, int, float)) else list(values)
    expected[kind][key] = [v.decode() if isinstance(v, bytes) else v for v in values] if kind == "texts" else [float(v) for v in values]


with h5py.File(path("readable.h5"), "w") as f:
    kinds = f.create_group("kinds")
    numbers = [[0.0, -1.5, 65504.0], [0.333251953125, 5.9604644775390625e-08, -0.0]]
    for kind in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        add(kinds, "float" + kind.replace("<", "_little").replace(">", "_big"), np.array(numbers, kind))
    for kind in ("i1", "u1", "<i2", ">u2", "<i4", ">i4", "<i8", "<u4"):
        low = 0 if "u" in kind else -3
        add(kinds, "integer" + kind.replace("<", "_little").replace(">", "_big"), np.array([low, 1, 120], kind))
    add(kinds, "scalar", np.float32(2.5))
    add(kinds, "empty", np.zeros((0, 4), "f4"))
    # The low-level interface, for a layout that h5py does not choose itself.
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    values = np.arange(6, dtype="f4").reshape(2, 3)
    d = h5py.h5d.create(kinds.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2, 3)), compact)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    expected["datasets"]["kinds/compact"] = {"shape": [2, 3], "floats": values.ravel().tolist()}
    # So many links that the index has several levels.
    many = f.create_group("many")
    for i in range(700):
        add(many, "tensor_%d" % i, np.array([i, i + 0.5], "f4"))
    add(f, "a/b/c/d", np.array([1.0], "f4"))
    # Attributes of all kinds, enough of them that the header continues.
    attribute(f, "fixed", np.array([b"stem_conv", b"bn", b""], "S9"), "texts")
    attribute(f, "variable", "Größe", "texts")
    attribute(f, "backend", np.bytes_(b"tensorflow"), "texts")
    f.attrs.create("list", ["one", "", "drei"], dtype=h5py.string_dtype())
    expected["texts"]["list"] = ["one", "", "drei"]
    attribute(f, "none", np.array([], "S1"), "texts")
    attribute(f, "nothing", np.array([]), "texts")
    attribute(f, "real", np.array([1.5, -2.0]), "numbers")
    attribute(f, "whole", 7, "numbers")
    f.attrs["flag"] = True  # an enumeration: not read, and in nobody's way
    for i in range(60):
        attribute(f["kinds"], "note_%d" % i, "text %d " % i * 20, "texts")
    attribute(f["many"], "long", np.array([b"layer_%d" % i for i in range(4000)], "S12"), "texts")

with h5py.File(path("chunked.h5"), "w") as f:
    f.create_dataset("x", data=np.zeros((4, 4), "f4"), chunks=(2, 2))
with h5py.File(path("gzip.h5"), "w") as f:
    f.create_dataset("x", data=np.zeros((4, 4), "f4"), compression="gzip")
with h5py.File(path("latest.h5"), "w", libver="latest") as f:
    f.create_dataset("x", data=np.zeros(4, "f4"))
with h5py.File(path("userblock.h5"), "w", userblock_size=512) as f:
    f.create_dataset("x", data=np.zeros(4, "f4"))
with h5py.File(path("symbolic.h5"), "w") as f:
    f["x"] = h5py.SoftLink("/y")
with h5py.File(path("order.h5"), "w", track_order=True) as f:
    f.create_dataset("x", data=np.zeros(4, "f4"))
with h5py.File(path("compound.h5"), "w") as f:
    f.create_dataset("x", data=np.zeros(4, [("a", "f4"), ("b", "i4")]))
with h5py.File(path("text.h5"), "w") as f:
    f.create_dataset("x", data=np.array([b"text"]))
with h5py.File(path("unwritten.h5"), "w") as f:
    f.create_dataset("x", (4,), "f4")
with h5py.File(path("loop.h5"), "w") as f:
    f.create_group("x/y")
    f["x/y/z"] = f["x"]
print(json.dumps(expected))
