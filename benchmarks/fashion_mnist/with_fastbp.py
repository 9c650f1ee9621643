"""784-256-128-10 on Fashion-MNIST with fastbp."""

import sys

from fashion_data import BATCH, EPOCHS, LEARNING_RATE, load, report

import fastbp as fb

x_train, y_train, x_test, y_test = load()
net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 128), fb.ReLU(), fb.Linear(128, 10),
                    seed=int(sys.argv[1]))
trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(lr=LEARNING_RATE))
trainer.fit(x_train, y_train, epochs=EPOCHS, batch_size=BATCH, progress=False)
report("fastbp", trainer.evaluate(x_test, y_test)["accuracy"])
