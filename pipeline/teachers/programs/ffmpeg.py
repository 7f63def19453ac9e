"""ffmpeg: its filters, and the command line for all pictures of an edit."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.teachers.programs.operators import operator

EXECUTABLE = "ffmpeg"

OPERATORS = (
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


def command_line(operations: Sequence[str]) -> str:
    """Return the command line that does operations in their order, each on RGB."""
    chain = ",".join(["format=gbrp", *(f"{operation},format=gbrp" for operation in operations), "format=rgb24"])
    numbers = "-start_number 0"
    return f'{EXECUTABLE} -v error -y {numbers} -i {{sources}}/%04d.png -vf "{chain}" {numbers} {{targets}}/%04d.png'
