"""784-256-128-10 on Fashion-MNIST with scikit-learn."""

import sys
import warnings

from fashion_data import BATCH, EPOCHS, LEARNING_RATE, load, report
from sklearn.neural_network import MLPClassifier

warnings.simplefilter("ignore")     # that five epochs are no convergence is known
x_train, y_train, x_test, y_test = load()
model = MLPClassifier((256, 128), activation="relu", solver="adam", alpha=0, batch_size=BATCH,
                      learning_rate_init=LEARNING_RATE, max_iter=EPOCHS, random_state=int(sys.argv[1]))
model.fit(x_train, y_train)
report("scikit-learn", model.score(x_test, y_test))
