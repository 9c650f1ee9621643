"""A short training that goes through most of the compiled code once: what tools/sanitize.sh runs under valgrind."""

from __future__ import annotations

import numpy as np

import fastbp as fb


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 9)), rng.integers(0, 4, 50)
    for dtype in ("float32", "float64"):
        a = fb.Input(9)
        h = fb.LayerNorm()(fb.GELU()(fb.Linear(9, 33)(a)))
        h = fb.Dropout(0.2)(fb.Concat()(fb.Add()(h, fb.Linear(33, 33)(fb.ReLU()(h))), a))
        net = fb.Network(a, fb.Linear(None, 4)(fb.BatchNorm()(h)), dtype=dtype, seed=0)
        for optimizer in (fb.SGD(0.01, momentum=0.9), fb.Adam(0.01, weight_decay=0.01), fb.RMSprop(0.01, momentum=0.5),
                          fb.Adagrad(0.01), fb.Lion(0.001)):
            trainer = fb.Trainer(net, fb.CrossEntropy(), optimizer, clip_norm=1.0)
            trainer.fit(x, y, epochs=2, batch_size=16, progress=False)
            trainer.step(x, y)
        net.predict(x.astype(dtype))
        net.predict(x, batch_size=7)
        net.forward(x, training=True)
        net.backward(np.ones((50, 4)))
        assert np.isfinite(net.loss(x, y, fb.CrossEntropy()))


if __name__ == "__main__":
    main()
