"""The data card of a zoo's pairs, which are published as a dataset of their own beside the weights.

Targets and sources are two tables: a target names its source by its key.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from string import Template

from pipeline.cards.zoo_card import TEMPLATES, licence_id
from zoo.concepts import SPLITS
from zoo.files import PathLike
from zoo.hub.pairs import pairs_manifest
from zoo.words import plural

ONE_CONFIG = "- config_name: pairs\n  default: true\n  data_files:\n  - split: train\n    path: pairs/**"
PAIRS_EXAMPLE = """
A target's key is `<concept_id>/<source's key>`; keys begin with `train-` (trained on) or `test-` (measured on):

```python
from datasets import load_dataset

before = {{row["__key__"]: row["source.png"] for row in load_dataset("{repo}", "sources", split="train")}}
for row in load_dataset("{repo}", "targets", split="train", streaming=True):
    concept_id, name = row["__key__"].split("/")
    source, target = before[name], row["target.png"]
```

"""


def pairs_card(run_dir: PathLike, repo: str, weights_repo: str) -> bytes:
    """Return the card of the pairs of a run folder, published as `repo` beside `weights_repo`."""
    manifest, _ = pairs_manifest(run_dir)
    files = [Path(run_dir) / name for name in manifest.files]
    stored = "pairs/sources.tar" in manifest.files
    fields = {
        "name": manifest.name,
        "pretty_name": json.dumps(manifest.name, ensure_ascii=False),
        "licence": manifest.licence,
        "licence_id": licence_id(manifest.licence),
        "teacher": manifest.teacher,
        "repo": repo,
        "weights_repo": weights_repo,
        "configs": _pair_configs(manifest.files) if stored else ONE_CONFIG,
        "example": PAIRS_EXAMPLE.format(repo=repo) if stored else "",
        "num_files": plural(len(files), "file"),
        "megabytes": f"{sum(path.stat().st_size for path in files) / 1e6:.1f}",
    }
    return Template((TEMPLATES / "pairs.md").read_text(encoding="utf-8")).substitute(fields).encode()


def _pair_configs(names: Iterable[str]) -> str:
    """Return the YAML of sources and targets, which are two tables; with features, for a shard may have no picture."""
    shards = [Path(name).name.split("-") for name in names if "/targets-" in name]
    splits = [split for split in SPLITS if any(parts[1] == split for parts in shards)]
    tables = {
        "targets": [(split, f"pairs/targets-{split}-*.tar") for split in splits],
        "sources": [("train", "pairs/sources.tar")],
    }
    lines, info = [], ["dataset_info:"]
    for name, files in tables.items():
        lines.append(f"- config_name: {name}")
        lines += ["  default: true"] if name == "targets" else []
        lines.append("  data_files:")
        lines += [f"  - split: {split}\n    path: {path}" for split, path in files]
        info.append(f"- config_name: {name}\n  features:")
        features = ((f"{name[:-1]}.png", "image"), ("__key__", "string"), ("__url__", "string"))
        info += [f"  - name: {feature}\n    dtype: {kind}" for feature, kind in features]
    return "\n".join(lines + info)
