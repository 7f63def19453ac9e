"""The command `weightzoo`: puts the sub-commands together, nothing else.

    weightzoo --help
    weightzoo generate "a charcoal drawing" -o charcoal/

The files of the sub-commands import torch, ray and the libraries inside their functions, so that `--help`
is instant.
"""

import os
import sys
from typing import Annotated

import typer

from cli import (
    apply,
    build,
    demo,
    download,
    evaluate,
    export,
    extend,
    finetune,
    generate,
    inspect,
    mix,
    polish,
    publish,
    repair,
    serve,
    train,
)
from cli.console.exits import EXIT_CODES, INTERRUPTED, WRONG_INPUT, ExactGroup, say_error

app = typer.Typer(
    name="weightzoo",
    cls=ExactGroup,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"weightzoo {version('weightzoo')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn a prompt, or pairs of pictures, into the weights of a trained image-to-image GAN."""


app.command("generate")(generate.generate)
app.command("finetune", context_settings={"allow_extra_args": True})(finetune.finetune)
app.command("apply")(apply.apply)
app.command("export")(export.export)
app.command("mix")(mix.mix)
app.command("build")(build.build)
app.command("extend")(extend.extend)
app.command("repair")(repair.repair)
app.command("publish")(publish.publish)
app.command("download")(download.download)
app.command("train")(train.train)
app.command("polish")(polish.polish)
app.command("evaluate")(evaluate.evaluate)
app.command("inspect")(inspect.inspect)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)


def check_text(arguments: list[str]) -> None:
    """End with one line where an argument has bytes that are no text: it can neither be encoded nor written down."""
    from zoo.files import is_text

    for argument in arguments:
        if not is_text(argument):
            say_error(f"{ascii(argument)} is not in UTF-8; rename the file, or set LANG=C.UTF-8 in the terminal")
            sys.exit(WRONG_INPUT)


def main() -> None:
    """Run the command line (the entry point of the distribution)."""
    # Nothing here needs a server, and a look-up of one must never make a command hang.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torch's threads spin while they wait for each other: where others want the cores too, that takes most of the time
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    check_text(sys.argv[1:])
    try:
        app(prog_name="weightzoo")
    except KeyboardInterrupt:
        say_error("stopped")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
