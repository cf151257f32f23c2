"""Runs Keras' ReduceLROnPlateau over the losses of each case in the JSON file
named first, and prints the cases with the learning rate after each epoch."""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras

with open(sys.argv[1]) as file:
    cases = json.load(file)
for case in cases:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(case["rate"]), loss="mse")
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="val_loss", factor=case["factor"], patience=case["patience"], min_lr=case["floor"]
    )
    callback.set_model(model)
    callback.on_train_begin()
    case["rates"] = []
    for epoch, loss in enumerate(case["losses"]):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        case["rates"].append(float(model.optimizer.learning_rate))
json.dump(cases, sys.stdout)
