"""`weightzoo serve`: the weight generator as a web server, with a page to try it on."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console.embedded import model_source, zoo_folder
from cli.console.options import ModelOption, ZooOption


def serve(
    model: ModelOption = None,
    data: ZooOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
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
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Serve with Ray Serve from this many processes.  [default: one, without Ray]"),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Serve with Ray Serve on this cluster: local, auto or ray://HOST:PORT.")
    ] = None,
) -> None:
    """Serve a weight generator: a page at /, an API at /v1, metrics at /metrics.

    The API describes itself at /openapi.json. After Ctrl-C the server finishes the running requests and
    fine-tuning jobs before it stops.

    \b
    Examples:
      weightzoo serve
      weightzoo serve --model user/model --data zoo --replicas 4
      WEIGHTZOO_TOKEN=... weightzoo serve --host 0.0.0.0
    """
    from weightgen.server.run import check_binding, listening, run_ray, run_uvicorn

    with_ray = replicas is not None or address is not None
    check_binding(host, token)  # before anything is loaded
    if address in (None, "local"):  # another cluster listens on a machine of its own
        with listening(host, port):
            pass
    from weightgen.generate import open_model
    from weightgen.server.limits import ServerSettings

    hosts = (*ServerSettings.hosts, *(allow_host or ()))
    settings = ServerSettings(open_model(model_source(model)), zoo_folder(data), Path(), token=token, hosts=hosts)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"loading; then open http://{shown}:{port}/", err=True)
    if with_ray:
        run_ray(settings, host, port, replicas or 1, address or "local")
    else:
        run_uvicorn(settings, host, port)
