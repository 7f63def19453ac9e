"""The one place that connects to a Ray cluster.

    with ray_cluster("auto", packages=("pipeline", "zoo"), environment={"OMP_NUM_THREADS": "1"}) as ray:
        ray.get(ray.remote(work).remote(task))

`local` starts a cluster on this machine that ends with the context, `auto` and `ray://HOST:PORT` join one. The
nodes of a cluster need weightzoo's dependencies installed, not weightzoo itself: the packages that are named are
shipped.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import WeightzooError

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = ["__pycache__", "embedded"]


@contextmanager
def ray_cluster(
    address: str,
    num_cpus: int | None = None,
    packages: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    extra: str = "build",
) -> Iterator[Any]:
    """Yield `ray`, connected; an existing connection is used and left as it is.

    Args:
        address: `local`, `auto` or `ray://host:port`. It is always given to Ray: without it, Ray would follow the
            address file of a cluster that is gone.
        num_cpus: of the cluster that `local` starts; `None` takes all cores.
        packages: top-level packages of ours that workers import.
        environment: environment variables of the workers.
        extra: of weightzoo's extras the one that the caller needs, for the error message.

    Raises:
        WeightzooError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise WeightzooError(f"this needs Ray; pip install 'weightzoo[{extra}]'") from None
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=runtime_env(address, packages, environment or {}),
            **local,
        )
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightzooError(
            f"no Ray cluster at {address!r} ({reason}); start one with `ray start --head`, "
            "check the address and RAY_AUTH_TOKEN, or use --address local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def runtime_env(address: str, packages: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return how workers get our code: this machine's path, or the packages that they import.

    Shipping packages instead of the working folder leaves out .git, runs and .venv, and does the same from a
    checkout as from site-packages.
    """
    if address == "local":
        paths = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        return {"env_vars": {**environment, "PYTHONPATH": paths}}
    if not packages:
        return {"env_vars": dict(environment)}
    shipped = [str(ROOT / package) for package in packages]
    return {"env_vars": dict(environment), "py_modules": shipped, "excludes": NOT_SHIPPED}
