"""Publishing a weight generator as a model repository of the Hub.

    published = publish_model("model/", "user/model", private=True, evaluation="runs/evaluation")
    pipe = WeightDiffusionPipeline.from_pretrained("user/model")

One commit holds the model's files and its card; checkpoints and curves stay at home. The same call again sends what
has changed, and makes no commit when nothing has.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd

from weightgen.model_card import EVALUATION, keep_evaluation, model_card
from weightgen.ood import OOD_FILE
from zoo.hub.repository import Published, Repository
from zoo.hub.upload import publish_files

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


def publish_model(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    tag: str | None = None,
    evaluation: str | Path | None = None,
) -> Published:
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
    names = [*REQUIRED, *(name for name in OPTIONAL if (folder / name).is_file())]
    files = [CommitOperationAdd(name, folder / name) for name in names]
    files.append(CommitOperationAdd("README.md", card))
    return publish_files(Repository(repo_id, "model"), (), files, "Add the weight generator", private, tag)
