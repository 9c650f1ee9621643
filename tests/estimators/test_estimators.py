"""The estimators: held against scikit-learn's of the same names, and what they do beyond them."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from scipy import sparse  # noqa: E402
from sklearn import __version__ as sklearn_version  # noqa: E402
from sklearn import datasets, neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.inspection import partial_dependence  # noqa: E402
from sklearn.metrics import d2_pinball_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

BACKEND = backends()[-1]
SKLEARN = tuple(map(int, sklearn_version.split(".")[:2]))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(*args, **kwargs):
    return fb.MLPClassifier(*args, **{"backend": BACKEND, "random_state": 0, **kwargs})


def regressor(*args, **kwargs):
    return fb.MLPRegressor(*args, **{"backend": BACKEND, "random_state": 0, **kwargs})


@pytest.fixture(scope="module")
def wine():
    X, y = datasets.load_wine(return_X_y=True)
    return scale(X), y


@pytest.fixture(scope="module")
def diabetes():
    X, y = datasets.load_diabetes(return_X_y=True)
    return scale(X), y / 100


# ---- scikit-learn's own checks ---------------------------------------------------------------------------------------


@parametrize_with_checks([kind(backend=BACKEND, max_iter=100) for kind in (fb.MLPClassifier, fb.MLPRegressor)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# ---- the same numbers as scikit-learn --------------------------------------------------------------------------------


def twins(kind, X, y, fit=None, **parameters):
    """Fit scikit-learn's estimator and ours, alike in everything."""
    if SKLEARN < (1, 7) and ("loss" in parameters or fit):
        pytest.skip("scikit-learn has this from 1.7 on")
    theirs = getattr(neural_network, kind)(random_state=0, **parameters)
    ours = getattr(fb, kind)(random_state=0, backend=BACKEND, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return theirs.fit(X, y, **(fit or {})), ours.fit(X, y, **(fit or {}))


def assert_alike(theirs, ours, rtol):
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    for name in ("loss_", "best_loss_", "best_validation_score_", "validation_scores_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None), name
        if other is not None:
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=1e-4, err_msg=name)
    for name in ("t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert mine.shape == other.shape


@pytest.mark.parametrize("parameters", [
    {},
    {"activation": "tanh"},
    {"activation": "logistic", "hidden_layer_sizes": [20, 10]},
    {"activation": "identity", "hidden_layer_sizes": 7},
    {"hidden_layer_sizes": ()},
    {"shuffle": False, "batch_size": 50},
    {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 5},
    {"solver": "sgd", "batch_size": 89, "alpha": 0.1},
    {"solver": "sgd", "batch_size": 50, "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 1e-3},
    {"solver": "sgd", "batch_size": 50, "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.2},
    {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    {"solver": "sgd", "nesterovs_momentum": False, "early_stopping": True, "learning_rate_init": 0.1},
    {"solver": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-7, "tol": 1e-2},
], ids=str)
def test_classifier_is_scikit_learns(wine, parameters):
    assert_alike(*twins("MLPClassifier", *wine, max_iter=60, **parameters), rtol=1e-4)


def test_to_rounding_where_batches_are_equal_and_no_epsilon_is_placed_otherwise(wine):
    theirs, ours = twins("MLPClassifier", *wine, solver="sgd", batch_size=89, max_iter=40, learning_rate_init=0.05)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(wine[0]), theirs.predict_proba(wine[0]), rtol=1e-9)


@pytest.mark.parametrize("target", ["binary", "text", "multilabel"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_kinds_of_classification(wine, target, solver):
    X, y = wine
    y = {"binary": y == 1, "text": np.array(["red", "white", "rosé"])[y],
         "multilabel": np.stack([y == 0, y == 1, y < 2], axis=1).astype(int)}[target]
    theirs, ours = twins("MLPClassifier", X, y, solver=solver, max_iter=30)
    assert_alike(theirs, ours, rtol=1e-4)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-2)
    assert ours.predict(X).dtype == theirs.predict(X).dtype


@pytest.mark.parametrize("parameters", [
    {}, {"early_stopping": True}, {"loss": "poisson"}, {"loss": "poisson", "solver": "sgd", "learning_rate_init": 1e-3},
    {"solver": "sgd", "learning_rate_init": 0.01},
], ids=str)
@pytest.mark.parametrize("outputs", [1, 2])
def test_regressor_is_scikit_learns(diabetes, parameters, outputs):
    X, y = diabetes
    y = y if outputs == 1 else np.stack([y, y**2 / 3], axis=1)
    theirs, ours = twins("MLPRegressor", X, y, max_iter=30, **parameters)
    assert_alike(theirs, ours, rtol=1e-4)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), atol=1e-3)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_lbfgs_is_scikit_learns(wine, diabetes, kind):
    X, y = wine if kind == "MLPClassifier" else diabetes
    theirs, ours = twins(kind, X, y, solver="lbfgs", max_iter=40, alpha=0.01)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-8)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-4, atol=1e-6)
    assert len(ours.loss_curve_) == ours.n_iter_
    assert ours.loss_curve_[-1] == pytest.approx(ours.loss_)
    assert ours.network_.dtype == "float64"


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
def test_sample_weight_is_scikit_learns(wine, solver):
    X, y = wine
    weight = np.random.default_rng(0).uniform(0.2, 3, len(y))
    # one mini-batch an epoch: else scikit-learn averages the reported losses by rows, and we by weights
    theirs, ours = twins("MLPClassifier", X, y, {"sample_weight": weight}, solver=solver, max_iter=20)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def test_labels_that_were_not_there_before(wine):
    X, y = wine
    ours = classifier().partial_fit(X[y > 0], y[y > 0], classes=[1, 2])
    with pytest.raises(ValueError, match=r"y has \[0\], not among the classes \[1, 2\]"):
        ours.partial_fit(X, y)


def test_partial_fit_is_scikit_learns(wine):
    X, y = wine
    theirs = neural_network.MLPClassifier(random_state=0)
    ours = classifier()
    for start in (0, 60, 120, 0):
        part = slice(start, start + 60)
        for model in (theirs, ours):
            model.partial_fit(X[part], y[part], classes=[0, 1, 2])
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    assert ours.t_ == theirs.t_
    with pytest.raises(AttributeError, match="partial_fit"):
        classifier(solver="lbfgs").partial_fit  # noqa: B018
    assert not hasattr(classifier(solver="lbfgs"), "partial_fit")


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warm_start_is_scikit_learns(wine, solver):
    X, y = wine
    models = [kind(random_state=0, warm_start=True, max_iter=5, solver=solver, **more)
              for kind, more in ((neural_network.MLPClassifier, {}), (fb.MLPClassifier, {"backend": BACKEND}))]
    for _ in range(3):
        theirs, ours = (model.fit(X, y) for model in models)
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    if solver != "lbfgs":
        assert len(ours.loss_curve_) == 15
    with pytest.raises(ValueError, match=r"same classes .* Previously got \[0 1 2\], `y` has \[1 2 3\]"):
        ours.fit(X, y + 1)


def test_what_verbose_prints(wine, capsys):
    printed = []
    for kind, more in ((neural_network.MLPClassifier, {}), (fb.MLPClassifier, {"backend": BACKEND})):
        model = kind(random_state=0, verbose=10, early_stopping=True, n_iter_no_change=2, solver="sgd", tol=0.5, **more)
        model.fit(*wine)
        printed.append(capsys.readouterr().out.splitlines())
    theirs, ours = printed
    assert len(ours) == len(theirs) > 4
    for mine, other in zip(ours, theirs, strict=True):
        words, others = mine.split(), other.split()
        for a, b in zip(words, others, strict=True):
            try:
                assert float(a) == pytest.approx(float(b), rel=1e-3)
            except ValueError:
                assert a == b


def test_warnings_are_scikit_learns(wine):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        classifier(max_iter=2).fit(*wine)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iteration"):
        classifier(solver="lbfgs", max_iter=2).fit(*wine)
    with pytest.warns(UserWarning, match="batch_size is 500, more than the 178 rows"):
        classifier(max_iter=2, batch_size=500).fit(*wine)


# ---- what scikit-learn's examples do, with the import changed --------------------------------------------------------


def test_example_regularisation_of_small_sets():
    rng = np.random.RandomState(2)
    X, y = datasets.make_classification(n_features=2, n_redundant=0, n_informative=2, random_state=0,
                                        n_clusters_per_class=1)
    X = X + 2 * rng.uniform(size=X.shape)
    for alpha in np.logspace(-1, 1, 3):
        scores = []
        for kind, more in ((neural_network.MLPClassifier, {}), (fb.MLPClassifier, {"backend": BACKEND})):
            model = make_pipeline(StandardScaler(), kind(solver="lbfgs", alpha=alpha, random_state=1, max_iter=300,
                                                         early_stopping=True, hidden_layer_sizes=[10, 10], **more))
            X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
            model.fit(X_train, y_train)
            grid = np.column_stack([a.ravel() for a in np.meshgrid(np.linspace(-3, 3, 9), np.linspace(-3, 3, 9))])
            assert model.predict_proba(grid)[:, 1].shape == (81,)
            scores.append(model.score(X_test, y_test))
        assert scores[1] == pytest.approx(scores[0], abs=0.03)


def test_example_learning_curves_of_solvers():
    data = [datasets.load_iris(return_X_y=True), datasets.make_moons(noise=0.3, random_state=0)]
    settings = [{"solver": "sgd", "learning_rate": "constant", "momentum": 0, "learning_rate_init": 0.2},
                {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.9, "nesterovs_momentum": True,
                 "learning_rate_init": 0.2},
                {"solver": "adam", "learning_rate_init": 0.01}]
    for X, y in data:
        X = MinMaxScaler().fit_transform(X)
        for setting in settings:
            model = classifier(max_iter=60, **setting).fit(X, y)
            assert len(model.loss_curve_) == model.n_iter_
            assert model.loss_ == model.loss_curve_[-1] < model.loss_curve_[0]


def test_example_weights_as_pictures():
    X, y = datasets.load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, test_size=0.3)
    model = fb.MLPClassifier(hidden_layer_sizes=(40,), max_iter=8, alpha=1e-4, solver="sgd", verbose=False,
                             random_state=1, learning_rate_init=0.2, backend=BACKEND)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        model.fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.9
    assert [c.T[0].reshape(8, 8).shape for c in model.coefs_[:1]] == [(8, 8)]


def test_example_partial_dependence(diabetes):
    X, y = diabetes
    mlp = regressor(hidden_layer_sizes=(30, 15), learning_rate_init=0.01, early_stopping=True)
    model = make_pipeline(StandardScaler(), mlp).fit(X, y)
    assert partial_dependence(model, X, [2], grid_resolution=5)["average"].shape == (1, 5)


# ---- among scikit-learn's tools --------------------------------------------------------------------------------------


def test_grid_search_in_two_processes(wine):
    search = GridSearchCV(classifier(max_iter=20), {"hidden_layer_sizes": [(5,), (20,)], "solver": ["adam", "lbfgs"]},
                          n_jobs=2, cv=3, error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(*wine)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.predict(wine[0]).shape == (178,)


def test_cross_validation_and_clone(wine):
    model = classifier(max_iter=50, solver=fb.AdamW(0.01), callbacks=[fb.callbacks.EarlyStopping("loss")])
    copy = clone(model)
    assert copy.solver is not model.solver
    assert repr(copy.solver) == repr(model.solver)
    assert cross_val_score(copy, *wine, cv=3).mean() > 0.9
    assert not hasattr(copy, "network_")


def test_a_pickled_estimator_predicts_and_goes_on(wine):
    X, y = wine
    model = classifier().partial_fit(X, y, classes=[0, 1, 2])
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    for each in (model, other):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_pipeline_with_frames_inside(wine):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = wine
    frame = pandas.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    model = make_pipeline(StandardScaler(), classifier(max_iter=20)).set_output(transform="pandas")
    model.fit(frame, pandas.Series(y))
    assert list(model[-1].feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(frame[frame.columns[::-1]])


def test_polars_frames(wine):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    X, y = wine
    frame = polars.DataFrame({f"c{i}": X[:, i] for i in range(X.shape[1])})
    model = classifier(max_iter=20).fit(frame, polars.Series(y))
    assert list(model.feature_names_in_) == frame.columns
    np.testing.assert_array_equal(model.predict_proba(frame), classifier(max_iter=20).fit(X, y).predict_proba(X))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_input(wine, form):
    X, y = np.where(wine[0] > 0.5, wine[0], 0), wine[1]
    dense, thin = (classifier(max_iter=10).fit(data, y) for data in (X, form(X)))
    np.testing.assert_array_equal(dense.predict_proba(X), thin.predict_proba(form(X)))


def test_scikit_learns_callbacks(wine):
    callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    seen = []

    class Watch:
        def setup(self, estimator, context):
            seen.append("setup")

        def teardown(self, estimator, context):
            seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            seen.append((context.task_name, fitted_estimator.score(X, y)))
            return context.task_name == "epoch" and context.task_id == 3

    assert isinstance(Watch(), callback.FitCallback)
    for solver in ("adam", "lbfgs"):
        seen.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = classifier(max_iter=50, solver=solver).set_callbacks(Watch()).fit(*wine)
        assert (model.n_iter_, len(caught)) == (4, 0)
        assert [s[0] for s in seen[1:-1]] == ["epoch"] * 4 + ["fit"]
        assert (seen[0], seen[-1]) == ("setup", "teardown")
        assert seen[-2][1] == model.score(*wine)
        assert seen[1][1] < seen[-2][1]


# ---- beyond scikit-learn ---------------------------------------------------------------------------------------------


def test_layers_of_all_kinds(wine):
    model = classifier((16, 8), ["gelu", fb.LeakyReLU(0.2)], dropout=[0.3, 0.0], batch_norm=True, layer_norm=True,
                       max_iter=60, learning_rate_init=0.01).fit(*wine)
    ops = [node.op.name for node in model.network_.graph.nodes]
    assert ops == ["linear", "batch_norm", "layer_norm", "gelu", "dropout", "linear", "batch_norm", "layer_norm",
                   "leaky_relu", "linear"]
    assert [c.shape for c in model.coefs_] == [(13, 16), (16, 8), (8, 3)]
    assert model.score(*wine) > 0.95
    np.testing.assert_array_equal(model.predict(wine[0]), model.predict(wine[0]))


def test_the_network_can_be_taken_out(wine):
    model = classifier(max_iter=20).fit(*wine)
    logits = model.network_.predict(wine[0])
    np.testing.assert_array_equal(logits.argmax(axis=1), model.predict(wine[0]))
    model.coefs_[0][...] = 0
    assert not model.network_.params["0.weight"].any()


def test_dtype_is_that_of_the_data_or_as_asked_for(wine):
    X, y = wine
    assert classifier(max_iter=2).fit(X, y).network_.dtype == "float64"
    model = classifier(max_iter=2).fit(X.astype(np.float32), y)
    assert model.network_.dtype == model.coefs_[0].dtype == model.predict_proba(X.astype(np.float32)).dtype == "float32"
    assert classifier(max_iter=2, dtype="float32").fit(X, y).network_.dtype == "float32"


def test_quantiles_cover_what_they_say():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 1))
    y = X[:, 0] + rng.normal(size=2000) * 0.3
    model = regressor(fb.Quantile([0.1, 0.5, 0.9]), (16,), learning_rate_init=0.01, max_iter=60).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == (2000, 3)
    np.testing.assert_allclose((y[:, None] < predicted).mean(axis=0), [0.1, 0.5, 0.9], atol=0.03)
    assert model.score(X, y) == pytest.approx(np.mean(
        [d2_pinball_score(y, predicted[:, i], alpha=q) for i, q in enumerate((0.1, 0.5, 0.9))]))


def test_mean_and_deviation_are_learnt_together():
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 1, (3000, 1))
    y = 2 * X[:, 0] + rng.normal(size=3000) * (0.1 + 0.4 * X[:, 0])
    model = regressor("gaussian", (32,), learning_rate_init=0.01, max_iter=100).fit(X, y)
    mean, deviation = model.predict([[0.1], [0.9]], return_std=True)
    np.testing.assert_allclose(mean, [0.2, 1.8], atol=0.1)
    np.testing.assert_allclose(deviation, [0.14, 0.46], rtol=0.25)
    with pytest.raises(ValueError, match="return_std is True, but loss is 'squared_error'"):
        regressor(max_iter=2).fit(X, y).predict(X, return_std=True)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", fb.Huber(0.5), "own"])
def test_losses_for_regression(diabetes, loss):
    def own(y_pred, y):
        return float(np.mean((y_pred - y) ** 4)), 4 * (y_pred - y) ** 3 / y.size
    X, y = diabetes
    model = regressor(own if loss == "own" else loss, learning_rate_init=0.01, max_iter=60).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.loss_curve_[-1] < 0.6 * model.loss_curve_[0]


def test_loss_with_smoothed_labels(wine):
    plain, smooth = (classifier(loss=loss, max_iter=200, learning_rate_init=0.01, tol=0).fit(*wine)
                     for loss in ("log_loss", fb.CrossEntropy(label_smoothing=0.2)))
    assert smooth.predict_proba(wine[0]).max() < 0.93 < plain.predict_proba(wine[0]).max()
    two = classifier(loss=fb.CrossEntropy(label_smoothing=0.1), max_iter=20).fit(wine[0], wine[1] == 0)
    assert two.out_activation_ == "softmax"
    assert two.predict_proba(wine[0]).shape == (178, 2)


@pytest.mark.parametrize("solver", [fb.AdamW(0.01), fb.RMSprop(0.003), fb.Lion(0.001), fb.SGD(fb.OneCycle(0.5, 60))])
def test_optimizers_and_schedules(wine, solver):
    model = classifier(solver=solver, max_iter=60).fit(*wine)
    assert model.score(*wine) > 0.95
    assert solver.hyperparameters() == model._trainer.optimizer.hyperparameters()
    assert solver is not model._trainer.optimizer


def test_a_schedule_for_adam(wine):
    model = classifier(learning_rate=fb.CosineDecay(0.01, steps=30), max_iter=30, n_iter_no_change=100).fit(*wine)
    assert model.history_["lr"][0] == pytest.approx(0.01)
    assert model.history_["lr"][-1] < 0.0001


def test_validation_data_of_ones_own(wine):
    X, y = wine
    model = classifier(max_iter=100, early_stopping=True, n_iter_no_change=3, tol=0.01)
    model.fit(X[::2], y[::2], validation_data=(X[1::2], y[1::2]))
    assert model.history_["val_score"] == model.validation_scores_
    assert model.score(X[1::2], y[1::2]) == model.best_validation_score_ == max(model.validation_scores_)
    assert model.stopped_
    assert model.n_iter_ < 100
    looked_at = classifier(max_iter=5).fit(X, y, validation_data=(X, y))
    assert looked_at.validation_scores_ is None
    assert looked_at.history_["val_score"][-1] == looked_at.score(X, y)


def test_callbacks(wine):
    seen = []
    note = fb.callbacks.Lambda(on_epoch_end=lambda trainer, epoch, logs: seen.append(logs["loss"]))
    model = classifier(max_iter=8, callbacks=[note, fb.callbacks.ExponentialMovingAverage(0.5)]).fit(*wine)
    assert seen == model.history_["loss"]
    assert len(seen) == 8
    stop = fb.callbacks.Lambda(on_epoch_end=lambda trainer, epoch, logs: setattr(trainer, "stop", epoch == 3))
    assert classifier(callbacks=[stop]).fit(*wine).n_iter_ == 3


def test_partial_fit_stops_early_with_the_best_weights(wine):
    X, y = wine
    model = classifier(early_stopping=True, n_iter_no_change=2, learning_rate_init=0.02)
    for _ in range(200):
        model.partial_fit(X[::2], y[::2], classes=[0, 1, 2], validation_data=(X[1::2], y[1::2]))
        if model.stopped_:
            break
    assert model.stopped_
    assert model.score(X[1::2], y[1::2]) == max(model.validation_scores_)
    calls = len(model.loss_curve_)
    before = model.network_.params.flat.copy()
    model.partial_fit(X, y)
    np.testing.assert_array_equal(model.network_.params.flat, before)
    assert len(model.loss_curve_) == calls < 200


def test_partial_fit_keeps_the_same_rows_apart(wine):
    X, y = wine
    model = classifier(early_stopping=True)
    kept = []
    original = model._split

    def split(*arguments):
        train, validation = original(*arguments)
        kept.append(validation[0])
        return train, validation
    model._split = split
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert all(np.array_equal(k, kept[0]) for k in kept)
    assert len(kept[0]) == 18


def test_threads_are_those_asked_for_while_it_works(wine):
    if BACKEND != "native":
        pytest.skip("the reference has no threads")
    seen = []
    note = fb.callbacks.Lambda(on_epoch_end=lambda *_: seen.append(fb.get_num_threads()))
    before = fb.get_num_threads()
    classifier(n_threads=1, max_iter=1, callbacks=[note]).fit(*wine)
    assert (seen, fb.get_num_threads()) == ([1], before)


def test_ctrl_c_leaves_a_usable_estimator(wine):
    def interrupt(trainer, epoch, logs):
        if epoch == 3:
            raise KeyboardInterrupt
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = classifier(callbacks=[fb.callbacks.Lambda(on_epoch_end=interrupt)]).fit(*wine)
    assert model.predict(wine[0]).shape == (178,)
    assert model.n_iter_ == 3


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parameters", "message"), [
    ({"solver": "newton"}, "MLPClassifier: solver is 'newton'; expected one of 'lbfgs', 'sgd', 'adam', or an"),
    ({"activation": "step"}, "MLPClassifier: activation is 'step'; expected one of 'identity', 'logistic'"),
    ({"activation": ["relu"] * 2}, "MLPClassifier: activation has 2 entries; expected 1, one for each hidden layer"),
    ({"hidden_layer_sizes": (5, 0)}, "MLPClassifier: hidden_layer_sizes is (5, 0); expected positive integers"),
    ({"hidden_layer_sizes": np.array([[5, 4]])}, "MLPClassifier: hidden_layer_sizes is array([[5, 4]]); expected posi"),
    ({"dropout": 1.0}, "MLPClassifier: dropout is 1.0; expected a number from 0 up to, but not including, 1"),
    ({"alpha": -1}, "MLPClassifier: alpha is -1; expected a number of at least 0"),
    ({"learning_rate": "fast"}, "MLPClassifier: learning_rate is 'fast'; expected one of 'constant'"),
    ({"learning_rate_init": 0}, "MLPClassifier: learning_rate_init is 0; expected a number above 0"),
    ({"batch_size": 0}, "MLPClassifier: batch_size is 0; expected a positive integer"),
    ({"momentum": 1.0}, "MLPClassifier: momentum is 1.0; expected a number from 0 to below 1"),
    ({"loss": "hinge"}, "MLPClassifier: loss is 'hinge'; expected \"log_loss\""),
    ({"loss": fb.MSE()}, "MLPClassifier: loss is MSE(), which is for regression"),
    ({"loss": fb.BinaryCrossEntropy()}, "but y has 3 classes; expected fb.CrossEntropy(…)"),
    ({"solver": "lbfgs", "callbacks": [fb.callbacks.Callback()]}, "callbacks are given with solver='lbfgs'"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"shuffle": None}, "MLPClassifier: shuffle is None; expected True or False"),
    ({"early_stopping": "no"}, "MLPClassifier: early_stopping is 'no'; expected True or False"),
    ({"early_stopping": True, "validation_fraction": 0}, "MLPClassifier: validation_fraction is 0 and early_stopping "
     "is True; expected a number above 0, or validation_data given to fit"),
])
def test_wrong_parameters(wine, parameters, message):
    model = classifier(**parameters)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is looked at below
        model.fit(*wine)
    assert message in str(raised.value)
    assert not hasattr(model, "network_")


def test_wrong_data(wine, diabetes):
    X, y = wine
    with pytest.raises(ValueError, match=r"sample_weight is 0 for all rows|must contain at least one non-zero"):
        classifier().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="sample_weight has -1 in row 0"):
        classifier().fit(X, y, sample_weight=np.full(len(y), -1))
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows"):
        classifier(class_weight={0: 0, 1: 0, 2: 0}).fit(X, y)
    with pytest.raises(ValueError, match="validation_data is not a tuple"):
        classifier().fit(X, y, validation_data=X)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        classifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="the validation set has 1 of 10 rows"):
        regressor(early_stopping=True).fit(*(part[:10] for part in diabetes))
    with pytest.raises(ValueError, match="several columns with more than two classes"):
        classifier().fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match=r"loss is Quantile.* but y has 2 columns"):
        regressor(fb.Quantile([0.1, 0.9])).fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="y has -1 in row 0; expected numbers of at least 0"):
        regressor("poisson").fit(X, np.r_[-1, y[1:]])


@pytest.mark.parametrize(("kind", "fraction", "both"), [
    (classifier, 0.99, "some of each class"), (classifier, 0.03, "some of each class"), (regressor, 0.999, "some")])
def test_rows_that_cannot_be_split_for_early_stopping(kind, fraction, both):
    X, y = np.arange(30)[:, None] / 30, np.arange(30) % 2
    model = kind(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=f": early_stopping is True, but 30 rows cannot be split by validation_fraction"
                                         f", {fraction}, so that both parts have {both}; change validation_fraction"):
        model.fit(X, y)


def test_validation_data_make_up_for_a_validation_fraction_of_0(wine):
    model = classifier(early_stopping=True, validation_fraction=0, max_iter=5).fit(*wine, validation_data=wine)
    assert len(model.validation_scores_) == 5


@pytest.mark.parametrize(("dtype", "loss", "size"), [
    ("float64", "squared_error", 1e200), ("float32", "squared_error", 1e30), ("float32", "gaussian", 1e30),
    ("float32", "absolute_error", 1e200)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_targets_too_large_for_the_dtype_are_named(diabetes, dtype, loss, size, solver):
    X, y = diabetes[0], diabetes[1].copy()
    y[7] = -size
    model = regressor(loss, dtype=dtype, solver=solver)
    with pytest.raises(ValueError, match=rf"^MLPRegressor: y has -{size:.3g} in row 7, too large for .* in {dtype}; "
                                         r"expected numbers up to .*TransformedTargetRegressor".replace("+", r"\+")):
        model.fit(X, y)
    assert not hasattr(model, "network_")


def test_diverging_says_so(diabetes):
    X, y = diabetes
    with pytest.raises(fb.DivergenceError, match="The learning rate"):
        regressor(solver="sgd", learning_rate_init=1e4, activation="identity").fit(X, y * 1e3)


def test_without_scikit_learn(tmp_path):
    code = ("import sys; sys.modules['sklearn'] = None\n"
            "import fastbp as fb\n"
            "for name in ('MLPClassifier', 'TabularRegressor', 'NetworkClassifier'):\n"
            "    try: getattr(fb, name)\n"
            "    except ImportError as error: print(error)\n"
            "print(hasattr(fb, 'nothing'), 'MLPRegressor' in dir(fb))")
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True, capture_output=True).stdout
    assert out == 3 * ("fastbp's estimators need scikit-learn; install it with: "
                       "pip install 'fastbp[sklearn]'\n") + "False False\n"


def test_scikit_learn_is_not_imported_with_fastbp(tmp_path):
    code = "import sys, fastbp; print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True, capture_output=True).stdout
    assert out == "False False\n"
