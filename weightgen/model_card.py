"""The card (README.md) of a published weight generator, filled from its folder.

    keep_evaluation("model/", "runs/evaluation")      # what `weightzoo evaluate` measured
    text = model_card("model/", "user/model")

No figure is typed by hand. Where the folder holds an evaluation, the card shows the model beside every baseline on
concepts that neither it nor its zoo has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from weightgen.model_folder import ModelFolder, denoiser_sha256, load_model_folder
from zoo.errors import WeightzooError
from zoo.files import read_json, write_json
from zoo.words import plural

TEMPLATE = Path(__file__).resolve().parent.parent / "data_cards" / "model.md"
EVALUATION = "evaluation.json"
LICENCE = "apache-2.0"
STAGES = {
    "generated": "weights only: trained to predict the zoo's weights",
    "polished": "weights, then pictures: trained further, through the pictures that its weights make",
    "paired": "weights, then pictures: trained further to read before/after pairs beside the prompt, or without one",
}
NOT_EVALUATED = (
    "Not measured yet: run `weightzoo evaluate --model DIR -o OUT`, then publish the model with `--evaluation OUT`. "
    "Without this table nothing is claimed about new concepts."
)
READS_PAIRS = (
    " The model reads before/after pairs, too, with the prompt or without: "
    "`weightzoo generate --pairs my-pairs --model $repo -o mine`."
)
ROW = {"init", "split", "prompts", "l1", "n"}  # what the table reads of a row


def keep_evaluation(folder: str | Path, evaluation: str | Path) -> None:
    """Copy an evaluation into the model's folder, where cards are made from it, with the name it gave the model.

    Args:
        evaluation: the output folder of `weightzoo evaluate`, or its `evaluation.json`.

    Raises:
        WeightzooError: there is none, it is something else, or it measured other models.
    """
    path = Path(evaluation) / EVALUATION if Path(evaluation).is_dir() else Path(evaluation)
    results = read_json(path)
    rows = results.get("zero_step") if isinstance(results, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= ROW for row in rows):
        raise WeightzooError(f"{path} is not the evaluation.json of `weightzoo evaluate`; give its output folder")
    model = load_model_folder(folder)
    mine = denoiser_sha256(model.path)
    if (settings := path.with_name("config.json")).is_file():
        measured = read_json(settings).get("model_sha256", {})
        names = [name for name, sha256 in measured.items() if sha256 == mine]
        if not names:
            raise WeightzooError(
                f"{path} measured {', '.join(measured) or 'no model'}, not the weights in {folder}; "
                f"run `weightzoo evaluate --model {folder} -o OUT`"
            )
        results["measured_as"] = names[0]
    write_json(model.path / EVALUATION, {**results, "denoiser_sha256": mine})


def model_card(folder: str | Path, repo: str) -> str:
    """Return the card of the model in `folder`, to be published as `repo`.

    Raises:
        WeightzooError: the folder is not a model's.
    """
    model = load_model_folder(folder)
    about, config = model.metadata, model.metadata.get("config", {})
    evaluation = Path(folder) / EVALUATION
    measured = read_json(evaluation) if evaluation.is_file() else {}
    is_own = measured.get("denoiser_sha256") == denoiser_sha256(folder)  # the folder may have been trained anew
    fields = {
        "repo": repo,
        "name": repo.rpartition("/")[2],
        "licence_id": LICENCE,
        "datasets": _datasets(str(about.get("zoo", ""))),
        "zoo": about.get("zoo", "unknown"),
        "concepts": about.get("concepts", "unknown"),
        "stage_words": STAGES.get(str(about.get("stage")), str(about.get("stage"))),
        "denoiser": model.denoiser_name,
        "num_parameters": f"{sum(p.numel() for p in model.denoiser.parameters()):,}",
        "target": model.target,
        "text_encoder": model.text_encoder_name,
        "steps": about.get("steps", "unknown"),
        "batch_size": config.get("batch_size", "unknown"),
        "learning_rate": config.get("learning_rate", "unknown"),
        "seconds": about.get("seconds", "unknown"),
        "r2": about.get("best", {}).get("r2", "unknown"),
        "pairs": Template(READS_PAIRS).substitute(repo=repo) if model.denoiser.settings.get("pair_features") else "",
        "further": "".join(_further(stage, about[stage]) for stage in STAGES if stage in about),
        "layout_id": model.layout.id,
        "num_blocks": model.layout.num_blocks,
        "block_size": model.layout.block_size,
        "num_values": f"{int(model.layout.mask.sum()):,}",
        "base_sha256": model.base_sha256,
        "evaluation": _evaluation(measured, model) if is_own else NOT_EVALUATED,
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields)


def _datasets(zoo: str) -> str:
    """Return the card's link to the dataset, where the zoo's name is that of a repository."""
    return f"datasets:\n- {zoo}\n" if zoo.count("/") == 1 else ""


def _further(stage: str, account: dict[str, Any]) -> str:
    """Return the row of a later stage; its error is an L1, or a mean logarithm of L1."""
    best = account.get("best", {})
    error = next((f"validation {key} {best[key]}" for key in ("l1", "log_l1") if key in best), "not validated")
    return f"| stage `{stage}` | steps: {account.get('steps')}, seconds: {account.get('seconds')}; {error} |\n"


def _evaluation(results: dict[str, Any], model: ModelFolder) -> str:
    """Return the zero-step table: one line a method, one column a split."""
    rows = [row for row in results["zero_step"] if row["prompts"] == 1 and row["l1"] is not None]
    splits = list(dict.fromkeys(row["split"] for row in rows))
    counts = {split: max(row["n"] for row in rows if row["split"] == split) for split in splits}
    found = {(_name(row), row["split"]): row for row in rows}
    methods = sorted(dict.fromkeys(_name(row) for row in rows), key=lambda name: _mean(found, name, splits))
    head = "| method | " + " | ".join(f"{split} ({counts[split]})" for split in splits) + " |"
    lines = [
        "Mean L1 of the edited photographs (RGB in [0, 1], lower is better) before any training, with its 95 % "
        "interval. The number of concepts stands in brackets after each split. Each concept is prompted with words "
        "that describe no concept of the zoo. `copy` leaves the photograph as it is; `own` was trained for the "
        "concept; `closed-form` reads example pairs in place of words.",
        "",
        head,
        "|---" * (1 + len(splits)) + "|",
    ]
    own = results.get("measured_as", model.metadata.get("stage"))
    for name in methods:
        mark = "**" if name == own else ""
        cells = [_cell(found.get((name, split))) for split in splits]
        lines.append(f"| {mark}{name}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    pairs = row.get("pairs", 0)
    return f"{row['init']}, {plural(pairs, 'pair')}" if pairs else row["init"]


def _mean(found: dict[tuple[str, str], dict[str, Any]], name: str, splits: Sequence[str]) -> float:
    values = [found[name, split]["l1"] for split in splits if (name, split) in found]
    return sum(values) / len(values)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    low, high = row.get("l1_interval") or (None, None)
    return f"{row['l1']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")
