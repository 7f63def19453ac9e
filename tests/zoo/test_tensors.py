"""Equal tensors and metadata give equal safetensors files; what is no discriminator is refused."""

import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from zoo.errors import WeightzooError
from zoo.files import remove_stale_temporaries
from zoo.gans.patchgan import PatchGanConfig
from zoo.tensors import load_discriminator, save_discriminator, tensor_bytes, write_tensors


def test_bytes_depend_on_content_only(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    keys = "gfedcba"
    data = tensor_bytes(tensors, {key: key * 2 for key in keys})
    assert data == tensor_bytes(dict(reversed(tensors.items())), {key: key * 2 for key in sorted(keys)})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == sorted(keys)
    write_tensors(tmp_path / "x.safetensors", tensors, {"é": "ü"})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"é": "ü"}
        assert all(torch.equal(file.get_tensor(name), value) for name, value in tensors.items())


def test_a_discriminator_survives(tmp_path):
    discriminator = PatchGanConfig(channels=(4, 8)).build()
    save_discriminator(tmp_path / "d.safetensors", discriminator)
    loaded = load_discriminator(tmp_path / "d.safetensors")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images, images), discriminator(images, images))
    assert loaded.config == discriminator.config


def test_what_is_no_discriminator_is_refused(tmp_path):
    path = tmp_path / "d.safetensors"
    with pytest.raises(WeightzooError, match="no such file"):
        load_discriminator(path)
    path.write_bytes(b"no")
    with pytest.raises(WeightzooError, match="not a readable safetensors file"):
        load_discriminator(path)
    path.write_bytes(safetensors.torch.save({"a": torch.ones(1)}))
    with pytest.raises(WeightzooError, match="not a discriminator of weightzoo"):
        load_discriminator(path)
    discriminator = PatchGanConfig(channels=(4, 8)).build()
    torch.nn.init.constant_(discriminator.layers[0].bias, float("nan"))
    save_discriminator(path, discriminator)
    with pytest.raises(WeightzooError, match="NaN or infinite"):
        load_discriminator(path)


def test_temporaries_of_dead_processes_are_removed(tmp_path):
    import os

    dead, alive = tmp_path / "w" / ".a.99999999.tmp.parquet", tmp_path / "w" / f".a.{os.getpid()}.tmp.parquet"
    folder, other = tmp_path / "w" / ".b.99999999.tmp", tmp_path / "w" / ".hidden.tmp"
    folder.mkdir(parents=True)
    for path in (dead, alive, other, folder / "x"):
        path.write_bytes(b"")
    remove_stale_temporaries(tmp_path)
    assert not dead.exists() and not folder.exists()
    assert alive.exists() and other.exists()
