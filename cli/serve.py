"""`weightzoo serve`: the weight generator as a web server, with a page to try it on."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console.embedded import model_source, zoo_folder


def serve(
    model: Annotated[
        str | None, typer.Option(help="Weight generator: a folder or USER/NAME.  [default: the embedded one]")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Zoo of that model.  [default: the embedded one]")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Number of processes that answer (with Ray).")] = 1,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="WEIGHTZOO_TOKEN",
            help="Token that clients must send as Authorization: Bearer; at least 16 characters.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name of this server, for example that of a proxy; may be repeated."),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray/--no-ray", help="Serve with Ray Serve, or from one plain process.")
    ] = True,
) -> None:
    """Serve a weight generator: a page at /, an API at /v1, metrics at /metrics.

    The API describes itself at /openapi.json. After Ctrl-C the server finishes the running requests and
    fine-tuning jobs before it stops.

    \b
    Examples:
      weightzoo serve --no-ray
      weightzoo serve --model user/model --data zoo --replicas 4
      WEIGHTZOO_TOKEN=... weightzoo serve --host 0.0.0.0
    """
    import os

    from weightgen.server.run import check_binding, listening
    from zoo.errors import WeightzooError

    check_binding(host, token)  # before anything is loaded
    if not (ray and os.environ.get("RAY_ADDRESS")):  # a cluster listens on a machine of its own
        with listening(host, port):
            pass
    if replicas > 1 and not ray:
        raise WeightzooError("--no-ray serves from one process; leave out --replicas or --no-ray")
    from weightgen.generate import open_model
    from weightgen.server.limits import ServerSettings
    from weightgen.server.run import run_ray, run_uvicorn

    if ray:
        import_ray_serve()
    hosts = (*ServerSettings.hosts, *(allow_host or ()))
    settings = ServerSettings(
        open_model(model_source(model)), zoo_folder(data), Path(), token=token, hosts=hosts
    )
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"loading; then open http://{shown}:{port}/", err=True)
    if ray:
        run_ray(settings, host, port, replicas)
    else:
        run_uvicorn(settings, host, port)


def import_ray_serve() -> None:
    """Raise WeightzooError that names the extra when Ray Serve is not installed."""
    from importlib.util import find_spec

    from zoo.errors import WeightzooError

    if find_spec("ray") is None:
        raise WeightzooError(
            "Ray is not installed; run: pip install 'weightzoo[serve]', or serve with --no-ray"
        )
