"""Every benchmark that takes minutes, one after the other, then the plots: `make bench` or `python -m benchmarks`.

    python -m benchmarks [fleets loading ...]

With names, these alone; with options of its own, one: `python -m benchmarks.fleets --help`. Results go to
benchmarks/results/*.json, plots to docs/benchmarks/*.png. Each is a process of its own, so that none leaves settings or
memory behind. One that fails does not stop the others; which did is said at the end, and the exit code is 1.
"""

import argparse
import subprocess
import sys

BENCHMARKS = (
    "start_up",
    "generation",
    "fleets",
    "denoiser",
    "loading",
    "usable",
    "scale",
    "planning",
    "stream",
    "ood",
    "serve",
    "plots",
)


def run(name: str) -> bool:
    """Run one benchmark without options and return whether it came to its end."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Run the requested benchmarks and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    failed = [name for name in names or BENCHMARKS if not run(name)]
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
