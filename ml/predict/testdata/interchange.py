"""Calls a SavedModel as TensorFlow Serving would.

interchange.py SAVED_MODEL reads requests of Serving's REST API, one a line, from
standard input and writes the replies, one a line. What Serving asks of a
signature is checked on the way: an input of bytes is called *_bytes, and the
first axis of everything counts the instances.
"""
import base64
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf
from tensorflow.python.saved_model.loader_impl import parse_saved_model

saved = parse_saved_model(sys.argv[1])
described = saved.meta_graphs[0].signature_def["serving_default"]
assert list(saved.meta_graphs[0].meta_info_def.tags) == ["serve"], saved.meta_graphs[0].meta_info_def.tags
assert described.method_name == "tensorflow/serving/predict", described.method_name
tensors = {**described.inputs, **described.outputs}
for name, info in tensors.items():
    axes = [axis.size for axis in info.tensor_shape.dim]
    assert axes and axes[0] == -1, (name, axes)
    # Serving writes outputs called *_bytes in base64, and text must be text.
    assert (info.dtype == tf.string.as_datatype_enum) == (name in ("image_bytes", "text")), (name, info.dtype)

signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
for line in sys.stdin:
    pictures = [base64.b64decode(i["image_bytes"]["b64"]) for i in json.loads(line)["instances"]]
    outputs = {name: value.numpy() for name, value in signature(image_bytes=tf.constant(pictures)).items()}
    predictions = [
        {"ids": ids.tolist(), "text": text.decode(), "log_probability": float(log_probability)}
        for ids, text, log_probability in zip(outputs["ids"], outputs["text"], outputs["log_probability"], strict=True)
    ]
    print(json.dumps({"predictions": predictions}), flush=True)
