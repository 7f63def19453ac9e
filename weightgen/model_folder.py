"""The folder of a trained weight generator: a diffusers pipeline folder plus what generation needs.

    DIR/model_index.json      diffusers: which class loads which component
    DIR/denoiser/{config.json, diffusion_pytorch_model.safetensors}
    DIR/scheduler/scheduler_config.json
    DIR/weightgen.json        format version, text encoder, target, layout id, base sha256, metadata with the role
    DIR/layout.json  DIR/statistics.safetensors  DIR/base_generator.safetensors
    DIR/familiar.safetensors  optional: the learned prompts, for the out-of-distribution score

`save_model_folder` writes it, `load_model_folder` reads it back without importing diffusers (diffusers alone
takes several seconds to import, the folder a fraction of one), so that one-step generation starts fast.
`WeightDiffusionPipeline.from_pretrained(DIR)` reads the same folder the diffusers way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from weightgen.denoisers import NETWORKS, class_names
from weightgen.normalize import BlockStatistics
from weightgen.ood import OOD_FILE, OutOfDistributionScore, load_ood_score
from zoo.errors import WeightzooError
from zoo.files import atomic_path, read_json_object, sha256_file, write_json
from zoo.inspection import Kind, opens
from zoo.layout import WeightLayout
from zoo.tensors import build_to_fit, read_finite, read_header, write_tensors

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

FORMAT_VERSION = 1
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
NEEDED = ("layout_id", "base_sha256", "text_encoder", "target", "metadata")  # of weightgen.json


@dataclass(frozen=True)
class ModelFolder:
    """An opened model folder.

    Attributes:
        denoiser: plain torch network in float32 and eval mode (`weightgen.denoisers.NETWORKS`).
        denoiser_name: key of NETWORKS and DENOISERS, e.g. "transformer".
        target: what the denoiser predicts, "x0" or "v".
        metadata: what the training wrote down (its role and stage, steps, R2, zoo, ...).
        ood_score: how far a prompt is from what the model has learned; None in a folder without it.
    """

    path: Path
    denoiser: nn.Module
    denoiser_name: str
    layout: WeightLayout
    statistics: BlockStatistics
    base_generator_path: Path
    base_sha256: str
    text_encoder_name: str
    target: str = "x0"
    metadata: dict[str, Any] = field(default_factory=dict)
    ood_score: OutOfDistributionScore | None = None

    def scheduler(self) -> SchedulerMixin:
        """Return the diffusers scheduler stored in the folder (imports diffusers)."""
        from diffusers import DDPMScheduler

        return DDPMScheduler.from_pretrained(self.path, subfolder="scheduler")


def save_model_folder(
    out_dir: str | Path,
    denoiser: nn.Module,
    scheduler: SchedulerMixin,
    layout: WeightLayout,
    statistics: BlockStatistics,
    base_generator_path: str | Path,
    text_encoder_name: str,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    ood_score: OutOfDistributionScore | None = None,
) -> Path:
    """Write a complete model folder; `model_index.json` comes last and marks the folder as complete.

    Args:
        denoiser: a network of `NETWORKS` or its diffusers twin of `DENOISERS`.
        scheduler: its config says what the denoiser predicts ("sample" = x0, "v_prediction" = v).
        dtype: storage type of the denoiser's weights; float16 halves the file, loading gives float32 again.
    """
    out_dir = Path(out_dir)
    network_name = next(name for name, cls in NETWORKS.items() if isinstance(denoiser, cls))
    class_name = class_names()[network_name]

    weights = {name: tensor.to(dtype) for name, tensor in denoiser.state_dict().items()}
    write_tensors(out_dir / "denoiser" / WEIGHTS_NAME, weights, {"format": "pt"})
    write_json(out_dir / "denoiser" / "config.json", {"_class_name": class_name, **denoiser.settings})
    schedule = json.loads(scheduler.to_json_string())
    write_json(out_dir / "scheduler" / "scheduler_config.json", schedule)
    layout.save(out_dir / "layout.json")
    statistics.save(out_dir / "statistics.safetensors")
    if ood_score is not None:
        ood_score.save(out_dir / OOD_FILE)
    base_path = out_dir / "base_generator.safetensors"
    if not base_path.exists() or not base_path.samefile(base_generator_path):
        with atomic_path(base_path) as path:
            shutil.copyfile(base_generator_path, path)
    write_json(
        out_dir / "weightgen.json",
        {
            "format_version": FORMAT_VERSION,
            "text_encoder": text_encoder_name,
            "target": {"sample": "x0", "v_prediction": "v"}[scheduler.config["prediction_type"]],
            "layout_id": layout.id,
            "base_sha256": sha256_file(base_path),
            "metadata": dict(metadata or {}),
        },
    )
    write_json(
        out_dir / "model_index.json",
        {
            "_class_name": "WeightDiffusionPipeline",
            "_diffusers_version": schedule.get("_diffusers_version", "0.42.0"),
            "denoiser": ["weightgen", class_name],
            "scheduler": ["diffusers", type(scheduler).__name__],
        },
    )
    return out_dir


def save_with_weights(
    out_dir: str | Path,
    model: ModelFolder,
    denoiser: nn.Module,
    scheduler: SchedulerMixin | None = None,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the folder of an opened model with another denoiser; see `save_model_folder`."""
    return save_model_folder(
        out_dir, denoiser, scheduler or model.scheduler(), model.layout, model.statistics, model.base_generator_path,
        model.text_encoder_name, metadata or model.metadata, dtype, model.ood_score,
    )  # fmt: skip


def copy_half(path: str | Path, out_dir: str | Path) -> Path:
    """Copy a model folder with the denoiser's weights as float16: how the embedded model is stored."""
    model = load_model_folder(path)
    return save_with_weights(out_dir, model, model.denoiser, dtype=torch.float16)


def load_model_folder(path: str | Path) -> ModelFolder:
    """Open a model folder and check that its parts belong together.

    Raises:
        WeightzooError: not a model folder, a newer format, or parts that do not belong together.
    """
    path = Path(path)
    if not (path / "model_index.json").is_file():
        raise WeightzooError(
            f"{path} is not a weight generator's folder (no model_index.json); train one with `weightzoo train`"
        )
    info = read_json_object(path / "weightgen.json")
    if info.get("format_version") != FORMAT_VERSION:
        raise WeightzooError(
            f"{path} has model format {info.get('format_version')}, this weightzoo reads {FORMAT_VERSION}; "
            "upgrade weightzoo or train the model again"
        )
    if absent := [key for key in NEEDED if key not in info]:
        raise WeightzooError(f"{path / 'weightgen.json'} lacks {absent[0]}; copy the model folder again")
    if info["target"] not in ("x0", "v") or not isinstance(info["metadata"], dict):
        raise WeightzooError(f"{path / 'weightgen.json'} has been changed; copy the model folder again")
    layout = WeightLayout.load(path / "layout.json")
    base_path = path / "base_generator.safetensors"
    if not base_path.is_file():
        raise WeightzooError(f"{base_path} is missing; copy the model folder again")
    for what, stored, found in (
        ("layout.json", info["layout_id"], layout.id),
        ("base_generator.safetensors", info["base_sha256"], sha256_file(base_path)),
    ):
        if stored != found:
            raise WeightzooError(f"{path / what} is not the one that the model was trained with; copy it again")
    denoiser_name, denoiser = load_network(path / "denoiser")
    statistics = BlockStatistics.load(path / "statistics.safetensors")
    for what, shape in (
        ("denoiser/config.json", (denoiser.settings["num_blocks"], denoiser.settings["block_size"])),
        ("statistics.safetensors", tuple(statistics.mean.shape)),
    ):
        if shape != (layout.num_blocks, layout.block_size):
            raise WeightzooError(f"{path / what} has another layout than layout.json; copy the model folder again")
    return ModelFolder(
        path=path,
        denoiser=denoiser,
        denoiser_name=denoiser_name,
        layout=layout,
        statistics=statistics,
        base_generator_path=base_path,
        base_sha256=info["base_sha256"],
        text_encoder_name=info["text_encoder"],
        target=info["target"],
        metadata=info["metadata"],
        ood_score=load_ood_score(path / OOD_FILE) if (path / OOD_FILE).is_file() else None,
    )


def denoiser_sha256(folder: str | Path) -> str:
    """Return the hash of the denoiser's weights, which tells one model from another."""
    return sha256_file(Path(folder) / "denoiser" / WEIGHTS_NAME)


def load_network(folder: str | Path) -> tuple[str, nn.Module]:
    """Load `denoiser/` as a plain torch network (float32, eval) and return (name in NETWORKS, network)."""
    folder = Path(folder)
    config = read_json_object(folder / "config.json")
    by_class = {class_name: name for name, class_name in class_names().items()}
    name = by_class.get(str(config.get("_class_name")))
    if name is None:
        raise WeightzooError(f"{folder / 'config.json'}: unknown denoiser; known: {', '.join(sorted(by_class))}")
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    if name == "transformer":
        settings.setdefault("pooled_at_input", False)  # folders from before the option
    weights = folder / WEIGHTS_NAME
    tensors = len(read_header(weights)[0])
    for key, value in settings.items():  # a stranger's config may ask for any size: making many layers takes for ever
        if key.endswith("_layers") and not (isinstance(value, int) and 0 <= value <= tensors):
            fits = f"{key} {value} does not fit a file of {tensors} tensors"
            raise WeightzooError(f"{folder / 'config.json'}: {fits}; copy the model again")
    build_to_fit(weights, lambda: NETWORKS[name](**settings))
    network = NETWORKS[name](**settings)  # what the file does not have is a function of the config
    network.load_state_dict({name: tensor.float() for name, tensor in read_finite(weights).items()})
    return name, network.eval()


def model_facts(path: Path) -> dict[str, Any]:
    """Return what a person wants to know about a model folder."""
    model = load_model_folder(path)
    return {
        "denoiser": model.denoiser_name,
        "parameters": sum(p.numel() for p in model.denoiser.parameters()),
        "target": model.target,
        "text encoder": model.text_encoder_name,
        "blocks": f"{model.layout.num_blocks} x {model.layout.block_size}",
        "layout": model.layout.id,
        "base sha256": model.base_sha256,
        "training": {key: value for key, value in model.metadata.items() if not isinstance(value, (dict, list))},
    }


KIND = Kind("weight generator", lambda path: (path / "model_index.json").is_file(), model_facts, opens(model_facts))
