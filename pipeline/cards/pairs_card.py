"""The data card of a zoo's pairs, which are published as a dataset of their own beside the weights.

Targets and sources are two tables: a target names its source by its key.
"""

import json
from collections.abc import Collection
from pathlib import Path

from pipeline.cards.tables import Table, picture_features, table_yaml
from pipeline.cards.zoo_card import TEMPLATES, licence_id
from zoo.concepts import SPLITS
from zoo.files import PathLike
from zoo.hub.pairs import pairs_manifest
from zoo.words import plural

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
        "manifest": manifest,
        "pretty_name": json.dumps(manifest.name, ensure_ascii=False),
        "licence_id": licence_id(manifest.licence),
        "repo": repo,
        "weights_repo": weights_repo,
        "tables": table_yaml(_tables(manifest.files)),
        "example": PAIRS_EXAMPLE.format(repo=repo) if stored else "",
        "num_files": plural(len(files), "file"),
        "megabytes": f"{sum(path.stat().st_size for path in files) / 1e6:.1f}",
    }
    return (TEMPLATES / "pairs.md").read_text(encoding="utf-8").format(**fields).encode()


def _tables(names: Collection[str]) -> list[Table]:
    """Return targets and sources, or one table of whatever files there are."""
    if "pairs/sources.tar" not in names:
        return [Table("pairs", {"train": "pairs/**"})]
    shards = [Path(name).name.split("-") for name in names if "/targets-" in name]
    splits = [split for split in SPLITS if any(parts[1] == split for parts in shards)]
    targets = {split: f"pairs/targets-{split}-*.tar" for split in splits}
    return [
        Table("targets", targets, picture_features("target.png")),
        Table("sources", {"train": "pairs/sources.tar"}, picture_features("source.png")),
    ]
