"""Publishing a weight generator as a model repository of the Hub.

    published = publish_model("model/", "user/model", private=True, evaluation="runs/evaluation")
    pipe = WeightDiffusionPipeline.from_pretrained("user/model")

One commit holds the model's files and its card; checkpoints and curves stay at home. The same call again sends what
has changed, and makes no commit when nothing has.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.hf_api import RepoFile

from weightgen.familiar import FILE as FAMILIAR
from weightgen.model_card import EVALUATION, keep_evaluation, model_card
from zoo.errors import WeightzooError
from zoo.files import sha256_file
from zoo.hub.client import LOG_IN, hub_errors, patiently
from zoo.hub.upload import LocalFile

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
OPTIONAL = (FAMILIAR, EVALUATION)


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
    """Publishes the model folder with its card.

    Args:
        repo_id: USER/NAME; made if it does not exist.
        private: make it private, or insist that it is.
        tag: a name for this state; never moved.
        evaluation: what `weightzoo evaluate` has written, for the card's table; kept in the folder from then on.

    Raises:
        WeightzooError: not a finished model, no account, no right to write, a tag that names another state, a public
            repository that is to be private, an evaluation of another model, or the Hub cannot be reached.
    """
    folder, api = Path(folder), HfApi()
    if evaluation is not None:
        keep_evaluation(folder, evaluation)
    card = model_card(folder, repo_id).encode()  # also: opens the folder, and so checks it
    if get_token() is None:
        raise WeightzooError(f"publishing needs an account on the Hub; {LOG_IN}")
    names = [*REQUIRED, *(name for name in OPTIONAL if (folder / name).is_file())]
    files = [
        LocalFile(name, folder / name, sha256_file(folder / name), (folder / name).stat().st_size)
        for name in names
    ]
    files.append(LocalFile("README.md", card, hashlib.sha256(card).hexdigest(), len(card)))
    with hub_errors(repo_id):
        patiently(lambda: api.create_repo(repo_id, private=private or None, exist_ok=True))
        info = patiently(lambda: api.repo_info(repo_id))
        if private and not info.private:
            raise WeightzooError(
                f"{repo_id} exists and is public; make it private on its page, or choose another"
            )
        listing = patiently(lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=info.sha)))
        remote = {entry.path: entry for entry in listing if isinstance(entry, RepoFile)}
        missing = [file for file in files if not file.is_at(remote.get(file.name))]
        refs = patiently(lambda: api.list_repo_refs(repo_id))
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        if tag in tags and (missing or tags[tag] != info.sha):
            raise WeightzooError(
                f"the tag {tag} of {repo_id} already names another state; choose another --tag"
            )
        head = info.sha
        if missing:
            operations = [
                CommitOperationAdd(f.name, f.source if isinstance(f.source, bytes) else str(f.source))
                for f in missing
            ]
            message = "Add the weight generator"
            head = patiently(lambda: api.create_commit(repo_id, operations, commit_message=message)).oid
        if tag and tag not in tags:
            patiently(lambda: api.create_tag(repo_id, tag=tag, revision=head, exist_ok=True))
    return PublishedModel(f"{api.endpoint}/{repo_id}", head, len(missing), sum(file.size for file in missing))
