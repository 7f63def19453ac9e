"""Publishing a weight generator as a model repository of the Hub.

    published = publish_model("model/", "user/model", private=True, evaluation="runs/evaluation")
    pipe = WeightDiffusionPipeline.from_pretrained("user/model")

One commit holds the model's files and its card; checkpoints and curves stay at home. The same call again sends what
has changed, and makes no commit when nothing has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_token

from weightgen.model_card import EVALUATION, keep_evaluation, model_card
from weightgen.ood import OOD_FILE
from zoo.errors import WeightzooError
from zoo.files import sha256_file
from zoo.hub.causes import LOG_IN
from zoo.hub.client import hub_errors, patiently
from zoo.hub.local_files import checked_file, file_of_bytes
from zoo.hub.repository import Repository, Sent

REQUIRED = (
    "denoiser/config.json",
    "denoiser/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "weightgen.json",
    "layout.json",
    "statistics.safetensors",
    "base_generator.safetensors",
    "model_index.json",
)
OPTIONAL = (OOD_FILE, EVALUATION)


@dataclass(frozen=True)
class PublishedModel:
    """The page of a model, the commit that holds it, and how many files and bytes this call sent."""

    url: str
    revision: str
    files: int
    bytes: int


def publish_model(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    tag: str | None = None,
    evaluation: str | Path | None = None,
) -> PublishedModel:
    """Publish the model folder with its card.

    Args:
        repo_id: USER/NAME; made if it does not exist.
        private: make it private, or insist that it is.
        tag: a name for this state; never moved.
        evaluation: what `weightzoo evaluate` has written, for the card's table; kept in the folder from then on.

    Raises:
        WeightzooError: not a finished model, no account, no right to write, a tag that names another state, a public
            repository that is to be private, an evaluation of another model, or the Hub cannot be reached.
    """
    folder = Path(folder)
    if evaluation is not None:
        keep_evaluation(folder, evaluation)
    card = model_card(folder, repo_id).encode()  # also: opens the folder, and so checks it
    if get_token() is None:
        raise WeightzooError(f"publishing needs an account on the Hub; {LOG_IN}")
    names = [*REQUIRED, *(name for name in OPTIONAL if (folder / name).is_file())]
    files = [checked_file(folder, name, sha256_file(folder / name)) for name in names]
    files.append(file_of_bytes("README.md", card))
    repository, sent = Repository(repo_id, "model"), Sent()
    with hub_errors(repo_id):
        repository.create(private)
        head, remote = repository.state()
        missing = [file for file in files if not file.is_at(remote.get(file.name))]
        tags = repository.tags()
        if tag in tags and (missing or tags[tag] != head):
            raise WeightzooError(
                f"the tag {tag} of {repo_id} already names another state; choose another --tag"
            )
        if missing:
            head = patiently(lambda: repository.commit(head, missing, (), "Add the weight generator", sent))
        if tag:
            repository.tag(tag, head, tags.get(tag))
    return PublishedModel(f"{repository.api.endpoint}/{repo_id}", head, sent.files, sent.bytes)
