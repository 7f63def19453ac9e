"""The part of a card's YAML that says which files make up which table, and what its columns are.

    table_yaml([Table("weights", {"train": "weights/train-*.parquet"}, features)])

Columns are declared because a first shard may have no row: without a declaration it tells a reader nothing. The YAML is
that of `datasets`, which reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.layout import WeightLayout
from zoo.records import arrow_schema

if TYPE_CHECKING:  # it takes two seconds to import
    from datasets import Features, SplitInfo


@dataclass(frozen=True)
class Table:
    """One table of a dataset repository.

    Attributes:
        files: pattern of the files of each split.
        features: the columns; None leaves them to the reader.
        splits: how large each split is, where that is known.
    """

    name: str
    files: dict[str, str]
    features: Features | None = None
    splits: Sequence[SplitInfo] = field(default=())


def table_yaml(tables: Sequence[Table]) -> str:
    """Return the YAML of tables, of which the first is the one that a reader gets who names none."""
    from datasets import DatasetInfo, SplitDict
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    configs = []
    for table in tables:
        default = {"default": True} if table is tables[0] else {}
        files = [{"split": split, "path": path} for split, path in table.files.items()]
        configs.append({"config_name": table.name, **default, "data_files": files})
    card = DatasetCardData(configs=configs)
    infos = DatasetInfosDict()
    for table in tables:
        if table.features is not None:
            splits = SplitDict({split.name: split for split in table.splits}) if table.splits else None
            infos[table.name] = DatasetInfo(features=table.features, splits=splits, config_name=table.name)
    infos.to_dataset_card_data(card)
    return card.to_yaml()


def record_features(layout: WeightLayout, is_parquet: bool) -> Features:
    """Return the columns of a shard of records, as Parquet or as WebDataset."""
    from datasets import Features, Value

    columns = Features.from_arrow_schema(arrow_schema(layout))
    if is_parquet:
        return columns
    text, number = Value("string"), Value("int64")
    row = {name: number if name in ("seed", "step", "attempt") else column for name, column in columns.items()}
    del row["blocks"]
    row |= {"metrics": dict(sorted(row["metrics"].items()))}
    row |= {"format_version": number, "layout_id": text, "sha256": text}
    members = {"json": dict(sorted(row.items())), "safetensors": Value("binary")}
    return Features({**members, "__key__": text, "__url__": text})


def picture_features(member: str) -> Features:
    """Return the columns of a WebDataset shard with one picture a row."""
    from datasets import Features, Image, Value

    return Features({member: Image(), "__key__": Value("string"), "__url__": Value("string")})
