"""Zoos by name and on the Hub: publish a run folder, download a zoo or a part of it, find the embedded one.

publish("runs/small", "user/small", {"README.md": card})
download("user/small", "zoos/small", split="train", shards="0-9")
find_zoo("weightzoo-small")
zoo = open_named("user/small@v1")     # a zoo that is fetched file by file, as it is read
"""

from zoo.hub.embedded import EMBEDDED, copy_embedded, find_zoo
from zoo.hub.fetch import download
from zoo.hub.remote import open_named
from zoo.hub.repository import Published
from zoo.hub.upload import publish, publish_pairs

__all__ = [
    "EMBEDDED",
    "Published",
    "copy_embedded",
    "download",
    "find_zoo",
    "open_named",
    "publish",
    "publish_pairs",
]
