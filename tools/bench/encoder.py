"""Encodes pictures with Keras' own encoders as frozen graphs, for a benchmark.

encoder.py THREADS answers each line "ENCODER PICTURES" of its standard input
with a line "SECONDS CPU_SECONDS" once it has encoded a batch of that many
pictures, random ones with random weights. The first time an encoder or a batch
is named it is tried once before it is timed.
"""
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

threads = int(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
random = np.random.default_rng(1)


def frozen(name):
    """The graph from bytes of pixels to the feature map, weights made constants."""
    side = {"EfficientNetB3": 300, "InceptionV3": 299}[name]
    model = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in model.layers:  # TensorFlow leaves out what adds 0
        for kind in ("beta", "moving_mean", "bias"):
            if getattr(layer, kind, None) is not None:
                getattr(layer, kind).assign(random.normal(0, 0.1, getattr(layer, kind).shape))
    preprocess = {
        "EfficientNetB3": keras.applications.efficientnet.preprocess_input,
        "InceptionV3": keras.applications.inception_v3.preprocess_input,
    }[name]
    encode = tf.function(lambda pixels: model(preprocess(tf.cast(pixels, tf.float32)), training=False))
    graph = encode.get_concrete_function(tf.TensorSpec([None, side, side, 3], tf.uint8))
    return side, convert_variables_to_constants_v2(graph)


def run(encode, pixels):
    wall, cpu = time.perf_counter(), time.process_time()
    encode(pixels)[0].numpy()
    return time.perf_counter() - wall, time.process_time() - cpu


encoders, batches = {}, {}
for line in sys.stdin:
    name, size = line.split()
    if name not in encoders:
        encoders[name] = frozen(name)
    side, encode = encoders[name]
    if line not in batches:
        batches[line] = tf.constant(random.integers(0, 256, (int(size), side, side, 3), "uint8"))
        run(encode, batches[line])
    print("%.6f %.6f" % run(encode, batches[line]), flush=True)
