"""Compares a safetensors file with the constants of a SavedModel.

weights.py SAVED_MODEL FILE prints how many tensors there are. The file is read
by the format's definition alone.
"""
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model.loader_impl import parse_saved_model

with open(sys.argv[2], "rb") as file:
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    data = file.read()
metadata = header.pop("__metadata__")
assert json.loads(metadata["vocabulary.json"])[2] == "startseq", metadata

graph = parse_saved_model(sys.argv[1]).meta_graphs[0].graph_def
weights = {n.attr["_weight"].s.decode(): tf.make_ndarray(n.attr["value"].tensor) for n in graph.node if "_weight" in n.attr}
assert weights.keys() == header.keys(), weights.keys() ^ header.keys()
for name, entry in header.items():
    begin, end = entry["data_offsets"]
    values = np.frombuffer(data[begin:end], {"F32": "<f4"}[entry["dtype"]]).reshape(entry["shape"])
    np.testing.assert_array_equal(values, weights[name], err_msg=name)
print(len(header))
