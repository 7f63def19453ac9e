"""`weightzoo publish MODEL`: a weight generator's folder goes to the Hub as a model."""

from pathlib import Path

from cli.console.output import emit


def is_model(folder: Path) -> bool:
    """Return whether the folder is that of a weight generator, not of a zoo."""
    return (folder / "model_index.json").is_file()


def publish_model(
    folder: Path, repo: str, private: bool, tag: str | None, evaluation: Path | None, json: bool
) -> None:
    """Publish a model and say where it is."""
    from weightgen.publish_model import publish_model as run
    from zoo.words import plural

    done = run(folder, repo, private, tag, evaluation)
    sent = f"{plural(done.files, 'file')}, {done.bytes / 1e6:.1f} MB sent" if done.files else "already up to date"
    lines = [
        f"{done.url}: {sent}",
        f'next: weightzoo generate "a charcoal drawing" --model {repo} -o charcoal',
    ]
    emit({"published": [done]}, json, lines)
