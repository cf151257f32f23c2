"""Trains a decoder in Keras on one batch, to compare a step with ours.

    decoders.py DECODER PRECISION THREADS BATCH LENGTH VOCABULARY LOCATIONS FEATURES WIDTH [SHARD OFFSET PICTURES]

The decoder "original" is lstm-pooled as the original system trains it: a sample is
the beginning of a caption and the one word that follows. With a shard, float16 from
that offset on, Keras' fit trains on its pictures, BATCH of them a step; there are
as many captions as pictures then.

The batch comes from standard input as int32: the captions' lengths, then their
tokens, padded with zeros. Prints "ready" when the first steps are taken; then, for
each line with a number of steps, the seconds and the processor seconds that they
took, and the last loss.
"""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
decoder, precision = sys.argv[1:3]
threads, batch, length, vocabulary, locations, features, width = map(int, sys.argv[3:10])
shard = sys.argv[10:]

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)

import keras
from keras import layers, ops

if precision != "float32":
    keras.mixed_precision.set_global_policy("mixed_" + precision)
keras.utils.set_random_seed(1)


class Positions(layers.Layer):
    """Adds a learned vector to each place."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + ops.cast(self.table, x.dtype)


class AttentiveCell(layers.Layer):
    """An LSTM step that looks at the grid before (Xu et al. 2015)."""

    def __init__(self, units):
        super().__init__()
        self.units = units
        self.state_size = [units, units]
        self.output_size = 2 * units

    def build(self, shape):
        n = self.units
        self.look = layers.Dense(2 * n)
        self.look.build((None, n))
        self.score = self.add_weight(shape=(n, 1), name="score")
        self.context = self.add_weight(shape=(n, 4 * n), name="context")
        self.recurrent = self.add_weight(shape=(n, 4 * n), name="recurrent")

    def call(self, gates, states):
        hidden, cell = states
        query, gate = ops.split(self.look(hidden), 2, axis=1)
        match = ops.tanh(ops.expand_dims(query, 1) + self.keys)
        score = ops.matmul(ops.reshape(match, (-1, self.units)), ops.cast(self.score, match.dtype))
        seen = ops.softmax(ops.reshape(score, (-1, 1, locations)))
        context = ops.sigmoid(gate) * ops.squeeze(ops.matmul(seen, self.values), 1)
        gates = gates + ops.matmul(context, ops.cast(self.context, context.dtype))
        gates = gates + ops.matmul(hidden, ops.cast(self.recurrent, hidden.dtype))
        i, f, o, g = ops.split(gates, 4, axis=1)
        cell = ops.sigmoid(f) * cell + ops.sigmoid(i) * ops.tanh(g)
        hidden = ops.sigmoid(o) * ops.tanh(cell)
        return ops.concatenate([hidden, context], axis=1), [hidden, cell]


class Attentive(layers.Layer):
    """The cell over all words."""

    def __init__(self, units):
        super().__init__()
        self.cell = AttentiveCell(units)
        self.keys = layers.Dense(units)
        self.start = layers.Dense(2 * units, activation="tanh")
        self.rnn = layers.RNN(self.cell, return_sequences=True, unroll=True)

    def build(self, shapes):
        words, grid = shapes
        self.keys.build(grid)
        self.start.build((None, grid[-1]))
        self.rnn.build(words)

    def call(self, inputs):
        words, grid = inputs
        self.cell.keys, self.cell.values = self.keys(grid), grid
        hidden, cell = ops.split(self.start(ops.mean(grid, axis=1)), 2, axis=1)
        return self.rnn(words, initial_state=[hidden, cell])


grid = keras.Input((features,) if decoder == "original" else (locations, features))
tokens = keras.Input((length,), dtype="int32")
if decoder in ("lstm-pooled", "original"):
    image = grid if decoder == "original" else layers.GlobalAveragePooling1D()(grid)
    image = layers.Dense(width, activation="relu")(image)
    image = layers.LayerNormalization()(layers.Dropout(0.3)(image))
    words = layers.Embedding(vocabulary, 200, mask_zero=True, trainable=False)(tokens)
    states = layers.LSTM(width, return_sequences=True, dropout=0.3, recurrent_dropout=0.2)(words)
else:
    memory = layers.LayerNormalization()(Positions()(layers.Dense(width)(grid)))
    words = layers.Embedding(vocabulary, width)(tokens)
if decoder == "lstm-pooled":
    image = layers.RepeatVector(length)(image)
    x = layers.MultiHeadAttention(4, width)(image, states, use_causal_mask=True)
    x = layers.Dense(width, activation="relu")(layers.Concatenate()([x, image]))
    x = layers.Dropout(0.5)(x)
elif decoder == "original":
    x = layers.MultiHeadAttention(4, width)(layers.Reshape((1, width))(image), states)
    x = layers.Concatenate()([layers.Reshape((width,))(x), image])
    x = layers.Dropout(0.5)(layers.Dense(width, activation="relu")(x))
elif decoder == "transformer":
    x = layers.Dropout(0.1)(Positions()(words))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(4, width // 4)(y, y, use_causal_mask=True)
        x = x + layers.Dropout(0.1)(y)
        y = layers.MultiHeadAttention(4, width // 4)(layers.LayerNormalization()(x), memory)
        x = x + layers.Dropout(0.1)(y)
        y = layers.Dense(4 * width, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Dropout(0.1)(layers.Dense(width)(y))
    x = layers.LayerNormalization()(x)
elif decoder == "lstm-attention":
    words = layers.Dropout(0.1)(words)
    x = Attentive(width)([layers.Dense(4 * width)(words), memory])
    x = layers.Dropout(0.1)(words + layers.Dense(width)(x))
else:
    sys.exit("there is no decoder " + decoder)
model = keras.Model([grid, tokens], layers.Dense(vocabulary, dtype="float32" if precision == "float32" else None)(x))
if decoder == "original":
    optimizer = keras.optimizers.Adam(1e-4)
else:
    optimizer = keras.optimizers.Adam(1e-4, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0)


def report(work):
    """Prints what the numbers of steps take that the lines ask for."""
    print("ready", model.count_params(), flush=True)
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        loss = work(int(line))
        print(time.perf_counter() - start, time.process_time() - used, float(loss), flush=True)


def read(rows):
    data = np.frombuffer(sys.stdin.buffer.read(4 * rows * (1 + length + 1)), np.int32)
    return data[:rows], data[rows:].reshape(rows, length + 1)


def counts(lengths):
    return (np.arange(length)[None, :] < lengths[:, None]).astype(np.float32)


def fit():
    path, offset, pictures = shard[0], int(shard[1]), int(shard[2])
    grids = np.memmap(path, np.float16, "r", offset, (pictures, locations, features))
    lengths, captions = read(pictures)
    weights = counts(lengths)

    def batches():
        while True:
            order = np.random.permutation(pictures)
            for at in range(0, pictures - batch + 1, batch):
                rows = order[at : at + batch]
                yield (grids[rows], captions[rows, :-1]), captions[rows, 1:], weights[rows]

    spec = lambda kind, *shape: tf.TensorSpec((batch, *shape), kind)
    data = tf.data.Dataset.from_generator(batches, output_signature=(
        (spec(tf.float16, locations, features), spec(tf.int32, length)), spec(tf.int32, length), spec(tf.float32, length),
    )).map(lambda x, y, w: ((tf.cast(x[0], tf.float32), x[1]), y, w), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train = lambda steps: model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0).history["loss"][-1]
    train(3)
    report(train)


if shard:
    sys.exit(fit())
optimizer.build(model.trainable_variables)
lengths, captions = read(batch)
inputs = [
    tf.constant(np.random.default_rng(1).random((batch, *grid.shape[1:]), np.float32)),
    tf.constant(captions[:, :-1]),
]
targets = tf.constant(captions[:, 1:])
weights = tf.constant(counts(lengths))
if decoder == "original":
    ends = np.random.default_rng(2).integers(1, lengths + 1)
    inputs[1] = tf.constant(np.where(np.arange(length)[None, :] < ends[:, None], captions[:, :-1], 0))
    targets = tf.constant(captions[np.arange(batch), ends])
    weights = tf.ones(batch)


@tf.function
def step():
    with tf.GradientTape() as tape:
        logits = tf.cast(model(inputs, training=True), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        loss = tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss


def train(steps):
    for _ in range(steps):
        loss = step()
    return loss


train(3)
report(train)
