"""What several test files share."""

from importlib.util import find_spec

from hypothesis import HealthCheck, settings


def backends() -> list[str]:
    """Return the backends that this installation has, for ``pytest.mark.parametrize``."""
    return ["reference", "native"] if find_spec("fastbp.engine.native") is not None else ["reference"]


# The suite tries the same examples every time; with --hypothesis-profile=fuzz there are new ones (tools/fuzz.sh).
settings.register_profile("suite", max_examples=60, deadline=None, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", max_examples=300, deadline=None, print_blob=True,
                          suppress_health_check=list(HealthCheck))
settings.load_profile("suite")
