"""One estimator in several threads: its predictions wait for each other, by a lock that is no part of it."""

import copy
import gc
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import joblib
from sklearn import datasets
from sklearn.base import clone
from sklearn.preprocessing import scale

from fastbp.estimators import mlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(max_iter):
    return fb.MLPClassifier(max_iter=max_iter, backend=backends()[-1], random_state=0)


@pytest.fixture(scope="module")
def wine():
    X, y = datasets.load_wine(return_X_y=True)
    return scale(X), y


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_threads_predict_with_one_estimator_in_turn(wine, method):
    X, y = np.tile(wine[0], (30, 1)), np.tile(wine[1], 30)
    model = classifier(5).fit(X, y)
    alike = copy.copy(model)  # has the same network
    arguments = (X, y) if method == "score" else (X,)
    expected = getattr(model, method)(*arguments)
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(getattr(each, method), *arguments) for each in (model, alike) * 40]:
            np.testing.assert_array_equal(future.result(), expected)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), clone(model).fit(X, y)):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert joblib.hash(model) == joblib.hash(pickle.loads(pickle.dumps(model)))


def test_a_network_that_went_leaves_no_lock_behind(wine):
    model = classifier(2).fit(*wine)
    model.predict(wine[0])
    gc.collect()
    before = len(mlp._locks)
    model.fit(*wine)
    gc.collect()
    assert len(mlp._locks) == before - 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_predicts_though_another_thread_did_when_it_was_forked(wine):
    X, y = np.tile(wine[0], (30, 1)), np.tile(wine[1], 30)
    model, done = classifier(2).fit(X, y), threading.Event()
    expected = model.predict(X)

    def predict():
        while not done.is_set():
            model.predict(X)

    thread = threading.Thread(target=predict)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(30)  # ends the process
                os._exit(int(not np.array_equal(model.predict(X), expected)))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()


def test_threads_that_set_the_number_of_threads_leave_it_as_it_was(wine):
    before = fb.get_num_threads()
    models = [classifier(2).set_params(n_threads=n).fit(*wine) for n in (2, 3)]
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(each.predict, wine[0]) for each in models * 100]:
            future.result()
    assert fb.get_num_threads() == before
