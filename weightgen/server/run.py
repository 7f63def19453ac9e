"""Serving a weight generator: one app, run by plain uvicorn or as a Ray Serve deployment.

    settings = ServerSettings(model, zoo, state, token="...")
    run_uvicorn(settings, "127.0.0.1", 8000)
    run_ray(settings, "127.0.0.1", 8000, replicas=2, address="local")

Ctrl-C or SIGTERM: no new requests, what runs comes to its end, fine-tuning jobs included.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from weightgen.server.limits import MIN_TOKEN, ServerSettings
from zoo.errors import WeightzooError
from zoo.ray_cluster import ray_cluster

if TYPE_CHECKING:
    from fastapi import FastAPI

APP = "weightzoo"
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # a proxy that is slow to start on a busy machine is not killed and started anew, which makes it slower still
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
    # what no replica answers
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "weightgen.server.proxy:middlewares",
}
LOOK_EVERY = 2.0  # seconds after which Ray looks whether a replica is still there
STOP = (signal.SIGINT, signal.SIGTERM)
SPARE_SECONDS = 200.0  # beyond the longest job, before Ray ends a replica that does not stop


def check_binding(host: str, token: str | None) -> None:
    """Refuse to serve the world without a token.

    Raises:
        WeightzooError: a public address without a token, or a token that can be guessed.
    """
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise WeightzooError(
            f"the token must have at least {MIN_TOKEN} plain characters; "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'` makes one"
        )
    if token is None and not is_loopback(host):
        raise WeightzooError(
            f"--host {host} can be reached from other machines; give a --token, or use --host 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Yield sockets that listen on every address of the host, so that the port is taken and clients wait.

    Raises:
        WeightzooError: the port is in use or needs other rights, or the host is no address of this machine.
    """
    sockets: list[socket.socket] = []
    with ExitStack() as closing:
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in found:
                sockets.append(closing.enter_context(socket.create_server(address, family=family)))
        except OSError as error:
            raise WeightzooError(binding_problem(error, host, port)) from error
        yield sockets


def binding_problem(error: OSError, host: str, port: int) -> str:
    """Return why a server cannot listen on a port, and what to do next."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what uses it, or choose another --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this account may not use port {port}; choose a --port above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all of its addresses"
    return f"cannot listen on port {port} of {host} ({error.strerror or error}); choose another --host or --port"


@contextmanager
def serving(settings: ServerSettings, host: str) -> Iterator[ServerSettings]:
    """Check the address; gives the settings with a folder for the jobs that goes away with the server.

    A server that others can reach answers to every name, because it has a token.
    """
    check_binding(host, settings.token)
    if not is_loopback(host):
        settings = replace(settings, hosts=("*",))
    with TemporaryDirectory(prefix="weightzoo-serve-") as folder:
        yield replace(settings, state=Path(folder) / "jobs")


def build_app(settings: ServerSettings) -> FastAPI:
    """Return the app with its model loaded."""
    from weightgen.server.app import create_app
    from weightgen.server.engine import Engine
    from weightgen.server.guard import log_to_stderr

    log_to_stderr()
    return create_app(Engine(settings.model, settings.zoo), settings)


def run_uvicorn(settings: ServerSettings, host: str, port: int) -> None:
    """Serve until a signal comes.

    Raises:
        WeightzooError: see `check_binding` and `listening`.
    """
    import uvicorn

    with listening(host, port) as sockets, serving(settings, host) as settings:
        app = build_app(settings)
        config = uvicorn.Config(app, access_log=False, server_header=False, log_level="warning")
        for number in STOP:  # uvicorn stops gracefully, then raises the signal again: let it pass
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=sockets)


def run_ray(settings: ServerSettings, host: str, port: int, replicas: int = 1, address: str = "local") -> None:
    """Serve on Ray until a signal comes: `replicas` processes, started again when they die.

    Args:
        address: cluster (`zoo.ray_cluster`); `local` goes away with the server. On a cluster that others have started
            the proxy answers in its own words while there is no replica, unless it got `RAY_SETTINGS` too.
    """
    stop = threading.Event()
    with serving(settings, host) as settings, ray_serve(settings, host, port, replicas, address):
        for number in STOP:  # by now: Ray has put a handler in place that ends the process 3 s after SIGTERM
            signal.signal(number, lambda *_: stop.set())
        stop.wait()


@contextmanager
def ray_serve(
    settings: ServerSettings, host: str, port: int, replicas: int = 1, address: str = "local"
) -> Iterator[Any]:
    """Yield the running deployment, as a context; gives its handle."""
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    with ray_cluster(address, packages=("weightgen", "zoo"), extra="serve"):
        from ray import serve
        from ray.serve.config import BackpressureConfig, HTTPOptions

        from weightgen.server.problems import RETRY_SECONDS

        try:
            serve.start(http_options=HTTPOptions(host=host, port=port))
            deployment = serve.deployment(
                serve.ingress(lambda: build_app(settings))(),
                name=APP,
                num_replicas=replicas,
                max_ongoing_requests=2 * settings.limits.inside,
                # these wait while a dead replica is replaced, more are refused
                max_queued_requests=settings.limits.inside,
                backpressure_config=BackpressureConfig(retry_after_s=RETRY_SECONDS),
                health_check_period_s=LOOK_EVERY,
                graceful_shutdown_timeout_s=settings.limits.job_seconds + SPARE_SECONDS,
                ray_actor_options={"num_cpus": 1},
            )
            yield serve.run(deployment.bind(), name=APP, route_prefix="/")
        finally:
            serve.shutdown()
