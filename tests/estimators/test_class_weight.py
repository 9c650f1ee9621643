"""The classifier's class_weight: held against sample weights, and what does not fit."""

import re

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn import datasets
from sklearn.preprocessing import scale

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**kwargs):
    return fb.MLPClassifier(**{"backend": backends()[-1], "random_state": 0, **kwargs})


@pytest.fixture(scope="module")
def wine():
    X, y = datasets.load_wine(return_X_y=True)
    return scale(X), y


@pytest.mark.parametrize("y", ["several", "two"])
def test_class_weight_is_sample_weight(wine, y):
    X, labels = wine
    labels = labels if y == "several" else labels == 2
    given = dict(zip(np.unique(labels), (1.0, 5.0, 0.5), strict=False))
    weighted = classifier(max_iter=10, class_weight=given).fit(X, labels)
    same = classifier(max_iter=10).fit(X, labels, sample_weight=[given[c] for c in labels])
    np.testing.assert_allclose(weighted.predict_proba(X), same.predict_proba(X), rtol=1e-6)
    some = classifier(max_iter=10, class_weight={labels[0]: 3.0}).fit(X, labels)
    same = classifier(max_iter=10).fit(X, labels, sample_weight=np.where(labels == labels[0], 3.0, 1.0))
    np.testing.assert_allclose(some.predict_proba(X), same.predict_proba(X), rtol=1e-6)
    balanced = classifier(max_iter=10, class_weight="balanced").fit(X, labels)
    assert not np.allclose(balanced.predict_proba(X), classifier(max_iter=10).fit(X, labels).predict_proba(X))


def test_class_weight_of_classes_that_rows_lack(wine):
    X, y = wine
    given = {0: 1.0, 2: 5.0}
    parts = classifier(class_weight=given).partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert parts.classes_.tolist() == [0, 1, 2]
    fold = classifier(max_iter=2, class_weight={**given, 1: 2.0}).fit(X[y < 2], y[y < 2])
    assert fold.classes_.tolist() == [0, 1]


@pytest.mark.parametrize(("class_weight", "message"), [
    ("balance", "class_weight is 'balance'; expected \"balanced\", or a dict from classes to "
                "numbers of at least 0, such as {0: 2.0}"),
    ([1, 2, 3], "class_weight is [1, 2, 3]; expected \"balanced\", or a dict"),
    (2, "class_weight is 2; expected \"balanced\", or a dict"),
    ({0: -1}, "class_weight[0] is -1; expected a number of at least 0"),
    ({1: np.nan}, "class_weight[1] is nan; expected a number of at least 0"),
    ({1: np.inf}, "class_weight[1] is inf; expected a number of at least 0"),
    ({2: "2"}, "class_weight[2] is '2'; expected a number of at least 0"),
    ({"0": 1, "1": 2}, "class_weight has the keys ['0', '1']; expected some of the classes [0, 1, 2], "
                       "which '0' is not among"),
    ({0: 1, 3: 2}, "class_weight has the keys [0, 3]; expected some of the classes [0, 1, 2], which 3 is "
                   "not among"),
])
def test_wrong_class_weights(wine, class_weight, message):
    model = classifier(class_weight=class_weight)
    with pytest.raises(ValueError, match=f"^{re.escape(f'MLPClassifier: {message}')}"):
        model.fit(*wine)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize(("class_weight", "message"), [
    ({0: 1}, "class_weight is {0: 1}; expected \"balanced\", or a list of 2 dicts, one for each label"),
    ([{0: 1}], "class_weight is [{0: 1}]; expected \"balanced\", or a list of 2 dicts"),
    ([{}, 3], "class_weight[1] is 3; expected a dict from classes to numbers of at least 0"),
    ([{}, {1: -2}], "class_weight[1][1] is -2; expected a number of at least 0"),
    ([{True: 1, 2: 3}, {}], "class_weight[0] has the keys [True, 2]; expected some of the classes [0, 1], which 2 is"),
])
def test_wrong_class_weights_for_several_labels(wine, class_weight, message):
    X, y = wine
    with pytest.raises(ValueError, match=f"^{re.escape(f'MLPClassifier: {message}')}"):
        classifier(class_weight=class_weight).fit(X, np.stack([y == 0, y == 1], axis=1).astype(int))
