"""What decides is the same under every code path that a processor may take, and in a locale that is not UTF-8.

Each setting starts `tests/decisions.py` anew: the libraries choose among their code paths when they are loaded. Paths
that this processor lacks are left out, because to force them ends the process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from tests import decisions

BEYOND_BASELINE = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
AVX2, AVX512 = __cpu_features__["AVX2"], __cpu_features__["AVX512_SKX"]

SETTINGS = {
    "none": (
        True,
        {
            "OPENBLAS_CORETYPE": "Prescott",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "NPY_DISABLE_CPU_FEATURES": " ".join(BEYOND_BASELINE),
            "JSIMD_FORCENONE": "1",
            "PYTHONHASHSEED": "1",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
            "LC_ALL": "C",
        },
        1,
    ),
    "avx2": (
        AVX2,
        {
            "OPENBLAS_CORETYPE": "Haswell",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "NPY_DISABLE_CPU_FEATURES": " ".join(n for n in BEYOND_BASELINE if n != "X86_V3"),
            "PYTHONHASHSEED": "2",
        },
        2,
    ),
    "avx512": (
        AVX512,
        {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512", "PYTHONHASHSEED": "3"},
        2,
    ),
}


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return decisions.digests()


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_decision_is_the_same(setting: str, here: dict[str, str]) -> None:
    there, variables, threads = SETTINGS[setting]
    if not there:
        pytest.skip("this processor has no such instructions")
    counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    child = subprocess.run(
        [sys.executable, "-m", "tests.decisions"],
        env={**os.environ, **counts, **variables},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == here
