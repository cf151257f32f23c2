"""Extracts the features of a folder's JPEGs as the original does, for a benchmark.

extract.py THREADS FOLDER answers each line with an ENCODER of its standard input
with a line "SECONDS CPU_SECONDS" once that encoder of Keras, with random weights,
has predicted the pooled features of all pictures, 32 at a time. The first time an
encoder is named it is tried once before it is timed.
"""
import os
import pathlib
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import tensorflow as tf

threads = int(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
files = sorted(map(str, pathlib.Path(sys.argv[2]).glob("*.jpg")))
applications = {
    "EfficientNetB3": (300, keras.applications.efficientnet.preprocess_input),
    "InceptionV3": (299, keras.applications.inception_v3.preprocess_input),
}
models = {}


def load(file, side, preprocess):
    picture = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
    return preprocess(tf.image.resize(picture, (side, side))).numpy()


def extract(name, files):
    side, preprocess = applications[name]
    for at in range(0, len(files), 32):
        batch = np.stack([load(file, side, preprocess) for file in files[at : at + 32]])
        models[name].predict(batch, verbose=0)


for line in sys.stdin:
    name = line.strip()
    if name not in models:
        side = applications[name][0]
        models[name] = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg")
        extract(name, files[:32])
    wall, cpu = time.perf_counter(), time.process_time()
    extract(name, files)
    print("%.6f %.6f" % (time.perf_counter() - wall, time.process_time() - cpu), flush=True)
