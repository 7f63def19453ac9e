#!/usr/bin/env bash
# What needs a GPU, in one command, meant for nine minutes and not run yet: fleets against K, generation, denoiser
# training, one fleet at the paper's scale. It needs the text encoder's wheel (`.[train]`). Results go to benchmarks/results/*_gpu.json, the plan of the fleet to $OUT (default: runs/gpu).
#
#   PYTHON=.venv/bin/python benchmarks/gpu.sh
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3} OUT=${OUT:-runs/gpu}
mkdir -p "$OUT"

"$PYTHON" -m benchmarks.fleets --device cuda --processes 4 --precision float32 bfloat16 --sizes 1 8 32 64 128 256 \
  --name fleets_gpu
"$PYTHON" -m benchmarks.fleets --device cuda --processes 4 --precision float32 bfloat16 --sizes 1 8 16 32 --modes adapter \
  --preset paper --name fleets_paper_gpu
"$PYTHON" -m benchmarks.generation --device cuda --name generation_gpu
"$PYTHON" -m benchmarks.denoiser --device cuda --precision bfloat16 --batch-size 128 --name denoiser_gpu
"$PYTHON" -m cli.main build --preset paper --gpus-per-fleet 1 --workers 1 --dry-run --run-dir "$OUT/paper" | tee "$OUT/plan.txt"
cp benchmarks/results/*_gpu.json "$OUT"
