"""ImageMagick 6: its operators, and the command line for all pictures of an edit."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.teachers.programs.operators import operator

EXECUTABLE = "convert"

ANGLES = [0, 45, 90, 135, 180, 225, 270, 315]
INKS = ["#0b1f4b", "#3a0d0d", "#0d3a1c", "#2b2118", "#4a0f4f", "#102a33"]
LIGHTS = ["#ffd9a0", "#ff8a5c", "#8ad0ff", "#b6f2c0", "#f3b4ff", "#fff27a"]

OPERATORS = (
    operator(
        "-shade {angle}x{height}",
        "carved in stone, lit from the side",
        "grey relief",
        angle=ANGLES,
        height=[20, 30, 45, 60],
    ),
    operator(
        "-colorspace Gray -canny 0x{sigma}+{low}%+{high}%",
        "thin white edges on black",
        "canny edges",
        sigma=[1, 1.5, 2],
        low=[5, 10],
        high=[20, 30],
    ),
    operator(
        "-morphology {kind} {shape}",
        "thick light edges on black",
        "morphological edges",
        kind=["EdgeIn", "EdgeOut", "Edge"],
        shape=["Diamond:1", "Disk:1.5", "Square:1"],
    ),
    operator(
        "-morphology {kind} {shape}",
        "shapes grown together",
        "smoothed with a brush",
        kind=["Open", "Close", "Smooth", "Erode", "Dilate"],
        shape=["Disk:1.5", "Diamond:2", "Square:1", "Disk:3"],
    ),
    operator(
        "-morphology {kind} {shape} -evaluate multiply {gain}",
        "only the small bright details",
        "top hat filter",
        kind=["TopHat", "BottomHat"],
        shape=["Disk:2", "Disk:4"],
        gain=[1.5, 2.5, 4],
    ),
    operator(
        "-statistic {kind} {size}x{size}",
        "smoothed into patches",
        "each pixel as its neighbours",
        kind=["Median", "Nonpeak", "Mean", "Maximum", "Minimum"],
        size=[3, 5, 7],
    ),
    operator(
        "-statistic {kind} {size}x{size} -evaluate multiply {gain}",
        "bright outlines on black",
        "local spread",
        kind=["Gradient", "StandardDeviation"],
        size=[3, 5],
        gain=[1, 2, 3],
    ),
    operator(
        "-colorspace Gray -lat {size}x{size}+{offset}%",
        "scanned text, black and white",
        "local threshold",
        size=[9, 15, 25],
        offset=[-4, -2, 1, 3],
    ),
    operator("-equalize", "histogram equalised", "every brightness as often as any other"),
    operator(
        "-contrast-stretch {low}%x{high}%",
        "contrast stretched",
        "blacker blacks and whiter whites",
        low=[1, 3, 8],
        high=[1, 4, 10],
    ),
    operator("-auto-gamma", "mid tones balanced", "brightness evened out"),
    operator(
        "-level {low}%,{high}%,{gamma}",
        "levels adjusted",
        "other black and white points",
        low=[0, 8, 15],
        high=[80, 90, 100],
        gamma=(0.6, 1.7),
    ),
    operator("+level {low}%,{high}%", "flat and pale", "contrast taken away", low=[5, 15, 25], high=[70, 85, 95]),
    operator(
        "-selective-blur 0x{sigma}+{threshold}%",
        "skin smoothed, edges kept",
        "flat areas blurred",
        sigma=[1, 2, 3],
        threshold=[8, 15, 25],
    ),
    operator("-motion-blur 0x{sigma}+{angle}", "blurred by motion", "the camera moved", sigma=[3, 5, 8], angle=ANGLES),
    operator("-adaptive-sharpen 0x{sigma}", "edges sharpened", "crisper outlines", sigma=[1, 2, 3]),
    operator("-sharpen 0x{sigma}", "sharpened strongly", "over-sharpened", sigma=[1, 2, 3]),
    operator(
        "-function Sinusoid {waves},{phase},0.5,0.5",
        "psychedelic bands of tone",
        "tones that turn over",
        waves=[1, 1.5, 2, 3],
        phase=[-90, 0, 45, 90],
    ),
    operator("-evaluate Pow {power}", "darker mid tones", "tones bent", power=(0.5, 2.2)),
    operator("-evaluate Log {base}", "shadows lifted by a logarithm", "bright shadows", base=[3, 10, 30]),
    operator("-black-threshold {at}%", "shadows cut to black", "dark tones gone", at=(15, 45)),
    operator("-white-threshold {at}%", "highlights burnt out", "bright tones cut to white", at=(50, 85)),
    operator("-colorspace Gray -threshold {at}%", "black and white stencil", "two tones, no grey", at=(25, 70)),
    operator("-threshold {at}%", "eight pure colours", "each channel on or off", at=(30, 65)),
    operator(
        "-fill {light} -tint {amount}", "tinted mid tones", "washed in one colour", light=LIGHTS, amount=[40, 70, 100]
    ),
    operator(
        "-color-matrix '{a} {b} {c} {c} {a} {b} {b} {c} {a}'",
        "colours mixed into each other",
        "channels mixed",
        a=(0.4, 1.1),
        b=(-0.2, 0.6),
        c=(-0.2, 0.4),
    ),
    operator(
        "-brightness-contrast {light}x{contrast}",
        "brightness and contrast changed",
        "other exposure",
        light=[-25, -12, 0, 12, 25],
        contrast=[-30, -15, 20, 45],
    ),
    operator(
        "-bias 50% -morphology Convolve '{kernel}'",
        "grey with bright and dark edges",
        "edges as relief",
        kernel=["Sobel:0", "Sobel:90", "Prewitt:45", "Kirsch:0", "Compass:135"],
    ),
    operator(
        "-morphology Convolve '{kernel}'",
        "fine details on black",
        "difference of blurs",
        kernel=["DoG:0,0,2", "LoG:0,1.5", "Laplacian:0", "Laplacian:5"],
    ),
    operator(
        "-background {ink} -vignette 0x{sigma}",
        "an oval fading into the dark",
        "in an oval frame",
        ink=INKS,
        sigma=[3, 6, 10],
    ),
    operator("-despeckle -despeckle -enhance", "noise removed", "cleaned up"),
    operator(
        "-channel {channel} -negate +channel",
        "one colour channel inverted",
        "false colours",
        channel=["R", "G", "B", "RB"],
    ),
    operator("-colors {count} +dither", "a handful of colours", "quantised palette", count=[4, 6, 12, 20]),
)


def command_line(operations: Sequence[str]) -> str:
    """Return the command line that does operations in their order."""
    words = " ".join(operations)
    return f"{EXECUTABLE} {{sources}}/*.png {words} -colorspace sRGB -type TrueColor PNG24:{{targets}}/%04d.png"
