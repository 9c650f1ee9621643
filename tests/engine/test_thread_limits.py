"""How many threads: what the environment says, and threadpoolctl, whichever is imported first."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp as fb
from fastbp.engine.threads import initial_threads

with_threadpoolctl = pytest.mark.skipif(importlib.util.find_spec("threadpoolctl") is None,
                                        reason="threadpoolctl is not installed")


@pytest.mark.parametrize(("own", "common", "expected"), [
    ("3", "2", 3), ("3", None, 3), (None, "2", 2), ("", "2", 2), (None, "5,2", 5), (None, " 4 ", 4),
    (None, "9999", 255)])
def test_the_environment_decides(own: str | None, common: str | None, expected: int,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FASTBP_NUM_THREADS", own), ("OMP_NUM_THREADS", common)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert initial_threads() == expected


@pytest.mark.parametrize("common", [None, "", "0", "-1", "many"])
def test_what_is_no_number_means_auto(common: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTBP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if common is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", common)
    assert initial_threads() == fb.cpu_info().available


def run(script: str, **env: str) -> str:
    source = str(Path(fb.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False,
                          env=os.environ | {"PYTHONPATH": source} | env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@with_threadpoolctl
@pytest.mark.parametrize("imports", ["fastbp as fb, threadpoolctl", "threadpoolctl, fastbp as fb"])
def test_threadpoolctl_limits_threads(imports: str) -> None:
    printed = run(f"""
import {imports}
threads = [fb.cpu_info().threads]
with threadpoolctl.threadpool_limits(2):
    threads.append(fb.cpu_info().threads)
    with threadpoolctl.threadpool_limits(1, user_api="fastbp"):
        threads.append(fb.cpu_info().threads)
threads.append(fb.cpu_info().threads)
print(threads, [i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "fastbp"])
""", FASTBP_NUM_THREADS="7")
    assert printed == "[7, 2, 1, 7] [7]"


@with_threadpoolctl
def test_neither_imports_the_other() -> None:
    assert run("import sys, fastbp; print('threadpoolctl' in sys.modules)") == "False"


def test_workers_of_joblib_share_the_machine() -> None:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    from joblib.externals.loky import get_reusable_executor
    try:
        with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
            assert joblib.Parallel()(joblib.delayed(fb.get_num_threads)() for _ in range(2)) == [1, 1]
    finally:
        get_reusable_executor().shutdown(wait=True)
