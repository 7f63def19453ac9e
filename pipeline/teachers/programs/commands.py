"""Operators of ImageMagick 6 and ffmpeg, and how a list of them is run: once for all pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from torch import Tensor

from pipeline.teachers.command import CommandTeacher
from pipeline.teachers.programs.operators import operator
from zoo.concepts import Concept

TIME_LIMIT = 600.0  # seconds for all pictures of one edit

ANGLES = [0, 45, 90, 135, 180, 225, 270, 315]
INKS = ["#0b1f4b", "#3a0d0d", "#0d3a1c", "#2b2118", "#4a0f4f", "#102a33"]
LIGHTS = ["#ffd9a0", "#ff8a5c", "#8ad0ff", "#b6f2c0", "#f3b4ff", "#fff27a"]

IMAGEMAGICK = (
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

FFMPEG = (
    operator("prewitt=scale={scale}", "edges on black", "prewitt edges", scale=[1, 2, 3]),
    operator("roberts=scale={scale}", "very fine edges on black", "roberts edges", scale=[1, 2, 4]),
    operator("kirsch=scale={scale}", "thick coloured edges", "kirsch edges", scale=[0.5, 1]),
    operator(
        "edgedetect=mode={mode}:low={low}:high={high}",
        "edges drawn",
        "edge detection",
        mode=["wires", "colormix"],
        low=[0.05, 0.1],
        high=[0.2, 0.3],
    ),
    operator(
        "unsharp=lx={size}:ly={size}:la={amount}:cx=3:cy=3:ca=0",
        "sharpened",
        "clearer details",
        size=[3, 5, 7, 9],
        amount=(0.6, 3),
    ),
    operator(
        "unsharp=lx={size}:ly={size}:la={amount}", "softened", "details taken away", size=[3, 5, 9], amount=(-1.4, -0.5)
    ),
    operator(
        "smartblur=lr={radius}:ls=1:lt={threshold}",
        "smooth skin",
        "flat areas softened",
        radius=[2, 4, 5],
        threshold=[-10, 10, 30],
    ),
    operator("avgblur=sizeX={x}:sizeY={y}", "blurred", "smeared", x=[1, 3, 6], y=[1, 3, 6]),
    operator("median=radius={radius}", "painted in patches", "median filter", radius=[1, 2, 4, 6]),
    operator(
        "bilateral=sigmaS={space}:sigmaR={range_}",
        "smooth surfaces, hard edges",
        "bilateral filter",
        space=[3, 6],
        range_=[0.08, 0.15, 0.3],
    ),
    operator("cas=strength={strength}", "contrast of details", "adaptive sharpening", strength=(0.4, 1)),
    operator("vignette=angle={angle}", "dark corners", "vignette", angle=(0.4, 1.1)),
    operator(
        "histeq=strength={strength}:antibanding=none",
        "histogram evened",
        "more contrast everywhere",
        strength=(0.15, 0.6),
    ),
    operator(
        "normalize=independence={independence}:strength={strength}",
        "colours stretched to the full range",
        "normalised",
        independence=[0, 1],
        strength=[0.6, 1],
    ),
    operator(
        "colorlevels=rimin={r}:gimin={g}:bimin={b}:rimax={top}:gimax={top}:bimax={top}",
        "channel levels",
        "colour levels shifted",
        r=(0, 0.2),
        g=(0, 0.2),
        b=(0, 0.2),
        top=(0.75, 1),
    ),
    operator(
        "colorlevels=romin={r}:gomin={g}:bomin={b}:romax={top}:gomax={top}:bomax={top}",
        "faded with a colour in the shadows",
        "lifted blacks",
        r=(0, 0.3),
        g=(0, 0.3),
        b=(0, 0.3),
        top=(0.7, 1),
    ),
    operator(
        "lutrgb=r='{r}':g='{g}':b='{b}'",
        "channels bent apart",
        "odd colours",
        r=["val", "negval", "maxval-val/2", "gammaval(0.6)"],
        g=["val", "gammaval(1.6)", "val/2"],
        b=["val", "gammaval(0.5)", "val*0.8+40"],
    ),
    operator(
        "monochrome=cb={cb}:cr={cr}:size={size}",
        "black and white through a colour filter",
        "monochrome",
        cb=(-0.7, 0.7),
        cr=(-0.7, 0.7),
        size=[0.5, 1, 3],
    ),
    operator(
        "colorcontrast=rc={rc}:gm={gm}:by={by}:rcw=1:gmw=1:byw=1",
        "contrast between colours",
        "opposite colours apart",
        rc=(-0.8, 0.8),
        gm=(-0.8, 0.8),
        by=(-0.8, 0.8),
    ),
    operator(
        "colorcorrect=rl={rl}:bl={bl}:rh={rh}:bh={bh}:saturation={saturation}",
        "split toned",
        "shadows and highlights in two colours",
        rl=(-0.5, 0.5),
        bl=(-0.5, 0.5),
        rh=(-0.5, 0.5),
        bh=(-0.5, 0.5),
        saturation=(0.3, 1.5),
    ),
    operator(
        "colorize=hue={hue}:saturation={saturation}:lightness={lightness}",
        "in one colour",
        "colourised",
        hue=(0, 360),
        saturation=(0.2, 0.8),
        lightness=(0.3, 0.7),
    ),
    operator(
        "colorhold=color={colour}:similarity={similarity}:blend={blend}",
        "only one colour left, the rest grey",
        "colour splash",
        colour=["red", "green", "blue", "orange", "0x6688aa"],
        similarity=(0.15, 0.45),
        blend=[0, 0.2, 0.4],
    ),
    operator(
        "huesaturation=hue={hue}:saturation={saturation}:intensity={intensity}",
        "hues turned",
        "colours shifted",
        hue=(-90, 90),
        saturation=(-0.6, 0.6),
        intensity=(-0.3, 0.3),
    ),
    operator(
        "huesaturation=hue={hue}:saturation={saturation}:strength=5:colors={colours}",
        "some colours changed only",
        "one hue replaced",
        hue=(-150, 150),
        saturation=(-0.8, 0.8),
        colours=["r", "g", "b", "c", "y", "r+y", "g+c"],
    ),
    operator("grayworld", "white balance corrected", "colour cast removed"),
    operator("dilation,dilation", "light shapes grown", "dilated"),
    operator("erosion,erosion", "dark shapes grown", "eroded"),
    operator(
        "convolution='{kernel}':'{kernel}':'{kernel}':'{kernel}':0rdiv=1:1rdiv=1:2rdiv=1:0bias={bias}:1bias={bias}:2bias={bias}",
        "relief with bright and dark edges",
        "embossed outlines",
        kernel=["0 1 0 1 -4 1 0 1 0", "-1 0 1 -2 0 2 -1 0 1", "1 1 1 0 0 0 -1 -1 -1"],
        bias=[0, 128],
    ),
    operator(
        "sab=lr={radius}:ls={strength}",
        "shape adaptive blur",
        "smooth and clean",
        radius=[1, 2, 3],
        strength=[5, 20, 60],
    ),
    operator(
        "yaepblur=radius={radius}:sigma={sigma}",
        "edges kept, the rest smoothed",
        "smooth tones",
        radius=[3, 6, 10],
        sigma=[256, 1024, 4096],
    ),
    operator(
        "chromanr=thres={threshold}:sizew=9:sizeh=9",
        "colour noise removed",
        "colours smoothed",
        threshold=[60, 120, 200],
    ),
    operator("pixelize=w={size}:h={size}", "big pixels", "mosaic of squares", size=[3, 5, 8]),
)


def run(program: str, operations: Sequence[str], photos: Tensor) -> Tensor:
    """Return photos [N, 3, H, W] in [0, 1] as a program edits them, in its own process and in 8 bits.

    Args:
        program: "imagemagick" or "ffmpeg".
        operations: in their order, in the words of the program.

    Raises:
        WeightzooError: the program is not installed, or refuses.
    """
    concept = Concept("program", program, attributes={"run": command(program, operations)})
    with tempfile.TemporaryDirectory(prefix="weightzoo-program-") as folder:
        return CommandTeacher(time_limit=TIME_LIMIT, folder=folder).edit(concept, photos)


def command(program: str, operations: Sequence[str]) -> str:
    """Return the command line for all pictures of an edit."""
    if program == "imagemagick":
        words = " ".join(operations)
        return f"convert {{sources}}/*.png {words} -colorspace sRGB -type TrueColor PNG24:{{targets}}/%04d.png"
    chain = ",".join(["format=gbrp", *(f"{operation},format=gbrp" for operation in operations), "format=rgb24"])
    numbers = "-start_number 0"
    return f'ffmpeg -v error -y {numbers} -i {{sources}}/%04d.png -vf "{chain}" {numbers} {{targets}}/%04d.png'
