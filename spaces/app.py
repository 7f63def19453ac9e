"""A Hugging Face Space: an edit is said in words, or shown by before/after pictures, and done to your photograph.

    pip install 'weightzoo[train,space]'
    python spaces/app.py                        # a page at http://127.0.0.1:7860

This folder is a Space as it stands: README.md has the Space's settings, requirements.txt what it installs. The variable
WEIGHTZOO_MODEL names another weight generator than the embedded one: a folder, or a repository of the Hub as user/name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from torch import nn

import weightgen
from weightgen.finetuning.solved import solve_pairs
from weightgen.generate import generate_edit, open_model
from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.model_roles import find_best
from weightgen.pairs.generate import PairReader, reader_in
from zoo.adapters.lora import load_base, merge
from zoo.errors import WeightzooError
from zoo.pictures.apply import edit_visible, load_network
from zoo.pictures.mixing import check_strength
from zoo.pictures.photo_file import read_photo
from zoo.words import plural

PACKAGE = Path(weightgen.__file__).parent
SAMPLES = PACKAGE / "server" / "page" / "samples"
EXAMPLES = (("pavilion", "warm evening light"), ("cat", "a cyanotype print"), ("mountain", "a charcoal drawing"))
MAX_PIXELS = 40_000_000  # of a photograph
MAX_PAIRS = 16
MAX_CHARACTERS = 300  # of the words
MAX_FILE = "20mb"
WAITING = 20  # visitors; more are told to come back
HOUR = 3600  # seconds that uploaded pictures are kept
ABOUT = """# weightzoo
Say an edit in words, or show it by pictures before and after. A network is made for it, and edits your photograph.
"""


@cache
def model_folder() -> Path:
    """Return the folder of the weight generator."""
    return find_best(open_model(os.environ.get("WEIGHTZOO_MODEL") or PACKAGE / "embedded"))[1]


@cache
def model() -> ModelFolder:
    """Return the weight generator."""
    return load_model_folder(model_folder())


@cache
def pair_reader() -> PairReader | None:
    """Return what generates networks from pairs; None where the weight generator reads text alone."""
    return reader_in(model_folder())


@lru_cache(maxsize=64)
def network_in_words(words: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network that is generated from words, and what a visitor should know of them."""
    output, notes = generate_edit(model(), [words])
    network = merge(load_base(model().base_generator_path), output.adapter())
    return network.eval().requires_grad_(False), tuple(notes)


def edit_in_words(photo: str | None, words: str, strength: float = 1.0) -> tuple[Image.Image, str]:
    """Edit a photograph as words say.

    Args:
        photo: a file.
        strength: 0 is the photograph itself, 1 the edit; from -1 to 2.

    Returns:
        The edited photograph, and notes in Markdown.

    Raises:
        WeightzooError: no photograph, an unreadable or too large one, no words or too many, or no such strength.
    """
    check_words(words)
    check_strength(strength)
    network, notes = network_in_words(words)
    return edited(photo, network, strength, notes)


def edit_of_pairs(
    photo: str | None,
    befores: Sequence[str] | None,
    afters: Sequence[str] | None,
    words: str = "",
    strength: float = 1.0,
) -> tuple[Image.Image, str]:
    """Edit a photograph as pictures before and after an edit show it.

    Args:
        photo: a file.
        befores, afters: files; they belong together in the order of their names.
        words: the edit in words, or "".
        strength: 0 is the photograph itself, 1 the edit; from -1 to 2.

    Returns:
        The edited photograph, and notes in Markdown.

    Raises:
        WeightzooError: as `edit_in_words`, or pictures that are no pairs.
    """
    check_words(words)
    check_strength(strength)
    with TemporaryDirectory(prefix="weightzoo-") as name:
        pairs, out = Path(name, "pairs"), Path(name, "network")
        lay_out(befores or (), afters or (), pairs)
        texts = [words] if words.strip() else []
        try:
            # measured on all pairs as well, or some would be held out
            done = solve_pairs(pairs, out, texts, test_pairs=pairs, steps=0, reader=pair_reader())
        except WeightzooError as error:
            raise WeightzooError(str(error).replace(f"{name}/", "")) from None
        network = load_network(out)
    notes = list(dict.fromkeys(note.removeprefix(f"{pairs}: ") for note in done["notes"]))
    if done["penalty_factor"] is None:
        notes.append("The pairs say too little of the edit to be followed; give more pairs, or other ones.")
    return edited(photo, network, strength, [f"The edit was read from {plural(done['pairs'], 'pair')}.", *notes])


def edited(photo: str | None, network: nn.Module, strength: float, notes: Sequence[str]) -> tuple[Image.Image, str]:
    """Return a photograph as a network edits it, and all notes."""
    if photo is None:
        raise WeightzooError("there is no photograph; choose one first")
    read = read_photo(photo)
    height, width = read.pixels.shape[:2]
    if height * width > MAX_PIXELS:
        most = f"the limit is {MAX_PIXELS // 10**6} megapixels"
        raise WeightzooError(f"the photograph has {width}x{height} pixels, and {most}; reduce it first")
    image = Image.fromarray(edit_visible(network, read, strength=strength))
    if read.alpha is not None:
        image.putalpha(Image.fromarray(read.alpha))
    return image, "\n".join(f"- {note}" for note in (*notes, *read.notes))


def lay_out(befores: Sequence[str], afters: Sequence[str], folder: Path) -> None:
    """Copy pictures to where `solve_pairs` reads pairs.

    Raises:
        WeightzooError: no pictures, too many, or not as many after as before.
    """
    if not befores and not afters:
        raise WeightzooError("there are no pairs; give at least one picture before the edit and the same after it")
    if len(befores) != len(afters):
        given = f"{plural(len(befores), 'picture')} before the edit and {len(afters)} after it"
        raise WeightzooError(f"there are {given}; give as many of both")
    if len(befores) > MAX_PAIRS:
        raise WeightzooError(f"there are {plural(len(befores), 'pair')}; give {MAX_PAIRS} at most")
    ordered = (sorted(map(Path, files), key=lambda file: file.name) for files in (befores, afters))
    for half in ("source", "target"):
        (folder / half).mkdir(parents=True)
    for number, (before, after) in enumerate(zip(*ordered, strict=True), start=1):
        stem = f"{number:02d}-{before.stem}"  # one name for both, which errors and notes can tell
        shutil.copy(before, folder / "source" / f"{stem}{before.suffix}")
        shutil.copy(after, folder / "target" / f"{stem}{after.suffix}")


def check_words(words: str) -> None:
    """Raise WeightzooError for more words than a visitor may send."""
    if len(words) > MAX_CHARACTERS:
        raise WeightzooError(f"the words have {len(words)} characters; the limit is {MAX_CHARACTERS}")


def page() -> Any:
    """Return the page, a `gradio.Blocks`."""
    import gradio as gr  # here, so that everything above works without it

    def shown(edit: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(edit)
        def told(*given: Any) -> Any:
            try:
                return edit(*given)
            except WeightzooError as error:
                raise gr.Error(str(error), print_exception=False) from None

        return told

    with gr.Blocks(title="weightzoo", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as blocks:
        gr.Markdown(ABOUT)
        with gr.Row():
            photo = gr.Image(type="filepath", sources=["upload", "clipboard"], label="Your photograph", height=400)
            result = gr.Image(format="png", interactive=False, label="Edited", height=400)
        notes = gr.Markdown()
        strength = gr.Slider(-1, 2, 1, step=0.05, label="Strength", info="0 is your photograph, 1 the edit.")
        with gr.Tab("An edit in words"):
            words = gr.Textbox(label="The edit, in English", max_length=MAX_CHARACTERS)
            by_words = gr.Button("Edit the photograph", variant="primary")
            gr.Examples([[str(SAMPLES / f"{name}.jpg"), text] for name, text in EXAMPLES], [photo, words])
        with gr.Tab("Your own edit"):
            gr.Markdown(
                f"Give up to {MAX_PAIRS} pictures before the edit, and the same pictures after it. "
                "They belong together in the order of their names. Four pairs are a good beginning."
            )
            with gr.Row():
                befores = gr.File(file_count="multiple", file_types=["image"], label="Before")
                afters = gr.File(file_count="multiple", file_types=["image"], label="After")
            hint = gr.Textbox(label="The edit in words, if you like", max_length=MAX_CHARACTERS)
            by_pairs = gr.Button("Edit the photograph", variant="primary")
        done = [result, notes]
        by_words.click(shown(edit_in_words), [photo, words, strength], done, api_name="edit_in_words")
        by_pairs.click(shown(edit_of_pairs), [photo, befores, afters, hint, strength], done, api_name="edit_of_pairs")
    return blocks


if __name__ == "__main__":
    page().queue(max_size=WAITING).launch(max_file_size=MAX_FILE)
