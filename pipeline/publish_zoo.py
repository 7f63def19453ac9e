"""Publishing a finished run folder on the Hub with its data card: the zoo, and its image pairs where they are wanted.

    publish_zoo("runs/small", "user/small", private=True)
    publish_zoo("runs/small", "user/small", pairs=True)              # also user/small-pairs
"""

from pathlib import Path

from pipeline.cards.pairs_card import pairs_card
from pipeline.cards.zoo_card import card_files
from pipeline.run_folder.private_paths import check_private
from zoo.convert import in_format
from zoo.hub import Published, publish, publish_pairs


def publish_zoo(
    run_dir: Path,
    repo: str,
    private: bool = False,
    pairs: bool = False,
    format: str | None = None,
    tag: str | None = None,
) -> list[Published]:
    """Publish a run folder as the dataset `repo`, and its pairs as `repo`-pairs.

    Args:
        format: a key of `FORMATS` to convert the shards to; `None` keeps theirs.
        private, tag: see :func:`zoo.hub.publish`.

    Raises:
        WeightzooError: see :func:`zoo.hub.publish`; or there are no pairs, or a path of this machine in the zoo.
    """
    pairs_repo = f"{repo}-pairs"
    card = pairs_card(run_dir, pairs_repo, repo) if pairs else b""  # first: without pairs nothing is sent
    zoo = run_dir if format is None else in_format(run_dir, format)
    check_private(run_dir, zoo)
    done = [publish(zoo, repo, card_files(zoo, repo), private, tag)]
    if pairs:
        done.append(publish_pairs(run_dir, pairs_repo, {"README.md": card}, private, tag))
    return done
