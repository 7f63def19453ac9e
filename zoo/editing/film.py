"""Edit a film frame by frame: its sound, times and size stay, and nothing flickers.

    edit_film(Edit("charcoal/"), "film.mp4", "out.mp4")

What a network takes from a photograph as a whole, such as its tones, would jump from frame to frame;
`zoo.editing.carried` carries it along. The film is written beside its final name, which it gets when it is complete.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zoo.editing.carried import KEEP, Carried
from zoo.editing.edit import Edit
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import PathLike, atomic_path
from zoo.pictures.apply import check_other_file, check_scale, edit_photo, load_network
from zoo.pictures.mixing import check_strength
from zoo.progress import track

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv")  # that are written
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
CODEC, QUALITY = "libx264", {"crf": "17", "preset": "medium"}
BT601, BT709 = 5, 1  # colour spaces, as ffmpeg numbers them
SPACES = {BT709: BT709, 4: 4, BT601: BT601, 6: BT601, 7: 7, 9: 9}  # of frames -> what converts them
LIMITED, FULL = 1, 2  # ranges of colours: black is 16 and white 235, or 0 and 255
HDR = {16: "PQ", 18: "HLG"}  # transfer functions
HIGH_DEFINITION = 720  # rows from which on a film without a colour space is taken for BT.709


def edit_film(edit: Edit, film: PathLike, out: PathLike, keep: float = KEEP) -> int:
    """Edit the film in file `film`, write it to `out` as H.264 with the same sound, and return how many frames it has.

    Args:
        keep: see `zoo.editing.carried`; 0 edits every frame for itself.

    Raises:
        WeightzooError: a file is absent, broken, of the wrong kind or cannot be written; or the film is HDR.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise WeightzooError(
            f"cannot write {out}: unknown suffix {suffix!r} of a film; use one of {', '.join(SUFFIXES)}"
        )
    check_strength(edit.strength)
    check_other_file(film, out)
    import av

    network = load_network(edit.weights, edit.base)
    if edit.scale is not None:
        check_scale(network, edit.scale)
    carried = Carried(keep)

    def edited(pixels: np.ndarray) -> np.ndarray:
        carried.begin(pixels)
        return edit_photo(network, pixels, scale=edit.scale, strength=edit.strength, carry=carried.context)

    with _readable(film) as source:
        lines = _left_out(source)
        first = _first_frame(source, film)
    for line in lines:
        warnings.warn(f"{film}: {line}", WeightzooWarning, stacklevel=2)
    with _readable(film) as source, atomic_path(out) as temporary, av.open(temporary, "w") as target:
        return _rewrite(source, target, first, edited, str(out))


@contextmanager
def _readable(film: PathLike) -> Iterator[Any]:
    """Open a film.

    Raises:
        WeightzooError: it cannot be read, also where that shows later; it has no picture, or is HDR.
    """
    import av

    if not Path(film).is_file():
        raise WeightzooError(f"no such file: {film}")
    try:
        with av.open(film) as source:
            if not source.streams.video:
                raise WeightzooError(f"{film} has no picture; give a film")
            transfer = source.streams.video[0].codec_context.color_trc
            if transfer in HDR:
                raise WeightzooError(
                    f"{film} is HDR ({HDR[transfer]}), which networks have not learned; convert it to SDR"
                )
            yield source
    except av.error.FFmpegError as error:
        if error.errno in NO_ROOM:
            raise
        raise WeightzooError(f"{film} is not a readable film ({error.strerror}); give an MP4, MOV or MKV") from error


def _left_out(source: Any) -> list[str]:
    """Return what of a film is not written again."""
    streams = source.streams
    picture = streams.video[0].codec_context
    lines = []
    if len(streams.video) > 1:
        lines.append("only its first picture is edited and kept")
    if streams.subtitles:
        lines.append("its subtitles are left out")
    if any(component.bits > 8 for component in picture.format.components):
        lines.append("its colours are read and written with 8 bits")
    return lines


def _first_frame(source: Any, film: PathLike) -> Any:
    for frame in source.decode(source.streams.video[0]):
        return frame
    raise WeightzooError(f"{film} has no frame; give a film")


def _rewrite(source: Any, target: Any, first: Any, edit: Callable[[np.ndarray], np.ndarray], out: str) -> int:
    """Decode, edit and encode the picture, copy the sound, and return the number of frames."""
    import av

    picture = source.streams.video[0]
    picture.thread_type = "AUTO"
    target.metadata.update(source.metadata)
    stream = _picture_stream(target, picture, first)
    try:
        sounds = {sound.index: target.add_stream_from_template(sound) for sound in source.streams.audio}
        target.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        raise WeightzooError(f"the sound of the film does not fit into {out} ({error}); write an .mkv") from None
    count = 0
    packets = source.demux(picture, *source.streams.audio)
    for frame in track(_frames(packets, sounds, target, picture), "editing", "frames", picture.frames or None):
        new = av.VideoFrame.from_ndarray(edit(_upright(frame)), format="rgb24")
        new = new.reformat(
            format=stream.pix_fmt,
            dst_colorspace=_space(frame),
            src_color_range=FULL,
            dst_color_range=LIMITED,
            interpolation=_exactly(),
        )
        new.pts, new.time_base = frame.pts, frame.time_base
        target.mux(stream.encode(new))
        count += 1
    target.mux(stream.encode())
    return count


def _frames(packets: Iterable[Any], sounds: dict[int, Any], target: Any, picture: Any) -> Iterator[Any]:
    """Yield the frames of the picture; packets of the sound are written on the way."""
    for packet in packets:
        if packet.stream.index == picture.index:
            yield from packet.decode()
        elif packet.dts is not None:  # the last one of each stream is empty
            packet.stream = sounds[packet.stream.index]
            target.mux(packet)


def _picture_stream(target: Any, picture: Any, first: Any) -> Any:
    """Add a stream for frames that are as large as the first one."""
    height, width = _upright(first).shape[:2]
    stream = target.add_stream(CODEC, rate=picture.average_rate or picture.guessed_rate, options=QUALITY)
    stream.height, stream.width = height, width
    stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    context = stream.codec_context
    context.time_base = picture.time_base
    context.colorspace, context.color_range = _space(first), LIMITED
    context.color_primaries, context.color_trc = picture.codec_context.color_primaries, picture.codec_context.color_trc
    if picture.sample_aspect_ratio:
        is_turned = first.rotation % 180 != 0
        context.sample_aspect_ratio = 1 / picture.sample_aspect_ratio if is_turned else picture.sample_aspect_ratio
    return stream


def _upright(frame: Any) -> np.ndarray:
    """Return a frame as uint8 [H, W, 3]."""
    pixels = frame.to_ndarray(
        format="rgb24",
        src_colorspace=_space(frame),
        src_color_range=frame.color_range or LIMITED,
        dst_color_range=FULL,
        interpolation=_exactly(),
    )
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


def _exactly() -> Any:
    """Return how colours are converted: without these flags ffmpeg makes every colour a level darker."""
    from av.video.reformatter import Interpolation as Flags

    return Flags.BICUBIC | Flags.ACCURATE_RND | Flags.FULL_CHR_H_INT | Flags.FULL_CHR_H_INP


def _space(frame: Any) -> int:
    """Return the colour space of a frame; where it says none, the usual one of its size."""
    return SPACES.get(frame.colorspace, BT709 if frame.height >= HIGH_DEFINITION else BT601)
