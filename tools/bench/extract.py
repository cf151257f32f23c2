"""Extracts the features of a folder's JPEGs as the original does, for a benchmark.

extract.py THREADS FOLDER answers each line with an ENCODER of its standard input
with a line "SECONDS CPU_SECONDS WAITED" once that encoder of Keras, with random
weights, has predicted the pooled features of all pictures, in a pipeline of tf.data
that loads them side by side and ahead, 32 at a time. The first time an encoder is
named it is tried once before it is timed.

WAITED are the seconds that predict takes to return after the last picture, without
using a processor: the pipeline ends when the thread that tunes it next looks up from
its sleep, which it doubles each time, from 10 ms to a minute. Between nothing and as
much as all before, they depend on the number of pictures alone, and are not in
SECONDS.
"""
import os
import pathlib
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
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


class Clock(keras.callbacks.Callback):
    """Notes when the last prediction was there."""

    def on_predict_end(self, logs=None):
        self.ended = time.perf_counter()


def extract(name, files):
    side, preprocess = applications[name]

    def load(file):
        picture = tf.image.decode_jpeg(tf.io.read_file(file), channels=3)
        return preprocess(tf.image.resize(picture, (side, side)))

    pictures = tf.data.Dataset.from_tensor_slices(files)
    pictures = pictures.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    clock = Clock()
    models[name].predict(pictures.batch(32).prefetch(tf.data.AUTOTUNE), verbose=0, callbacks=[clock])
    return clock.ended


for line in sys.stdin:
    name = line.strip()
    if name not in models:
        side = applications[name][0]
        models[name] = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg")
        extract(name, files[:32])
    wall, cpu = time.perf_counter(), time.process_time()
    ended = extract(name, files)
    took = ended - wall, time.process_time() - cpu, time.perf_counter() - ended
    print("%.6f %.6f %.6f" % took, flush=True)
