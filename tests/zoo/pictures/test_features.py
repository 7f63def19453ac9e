"""Feature networks: real ImageNet weights that recognise photographs; Inception equals a plain reference."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.zoo.pictures.inception_reference import Inception
from zoo.errors import WeightzooError
from zoo.pictures import features as features_module
from zoo.pictures.features import FEATURE_NETWORKS, EfficientNetLite0, load_features, read_efficientnet
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.photo_file import open_image

PHOTOS = Path(__file__).parents[3] / "pipeline" / "external" / "photos"
DAISY, COCKER_SPANIEL = 985, 219


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """The reference with random weights, and a file of them."""
    torch.manual_seed(0)
    reference = Inception().eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 1, 3)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(reference.state_dict(), path)
    return reference, path


def test_efficientnet_recognises_photographs():
    weights = read_efficientnet()
    network = EfficientNetLite0().eval()
    network.load_published(weights)
    photos = [open_image(PHOTOS / f"{name}.jpg") for name in ("flower", "friends")]
    images, _ = pairs_to_tensors([("photo", photo, photo) for photo in photos], 224)
    with torch.inference_mode():
        logits = network(images) @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert logits.argmax(1).tolist() == [DAISY, COCKER_SPANIEL]


def test_features_have_a_name_a_width_and_do_not_depend_on_the_batch(monkeypatch):
    network = load_features("efficientnet-lite0")
    images = torch.rand(5, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    features = network(images)
    assert network.name == "efficientnet-lite0" and features.shape == (5, network.width) == (5, 1280)
    monkeypatch.setattr(features_module, "BATCH", 2)
    torch.testing.assert_close(network(images), features, rtol=1e-4, atol=1e-4)
    assert network(images[:0]).shape == (0, 1280)
    assert load_features("efficientnet-lite0") is network


def test_inception_equals_the_reference(inception):
    reference, path = inception
    assert sum(parameter.numel() for parameter in reference.parameters()) == 21_785_568  # as published
    network = load_features(f"inception:{path}")
    images = torch.rand(1, 3, 299, 299)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), reference(images), rtol=1e-3, atol=1e-4)
    assert network.name.startswith("inception-v3-") and network.width == 2048


def test_errors(tmp_path, inception, monkeypatch):
    with pytest.raises(WeightzooError, match=f"use one of {', '.join(sorted(FEATURE_NETWORKS))}"):
        load_features("vgg")
    with pytest.raises(WeightzooError, match="brings its weights; leave mine.safetensors out"):
        load_features("efficientnet-lite0:mine.safetensors")
    with pytest.raises(WeightzooError, match="needs its weights"):
        load_features("inception")
    with pytest.raises(WeightzooError, match="do not exist"):
        load_features(f"inception:{tmp_path}/absent.safetensors")
    (tmp_path / "other.pth").write_bytes(b"something")
    with pytest.raises(WeightzooError, match="does not hold Inception v3 weights"):
        load_features(f"inception:{tmp_path}/other.pth")
    with pytest.raises(WeightzooError, match=r"images \[N, 3, H, W\]"):
        load_features("efficientnet-lite0")(torch.zeros(3, 8, 8))
    monkeypatch.setattr(features_module, "EFFICIENTNET_SHA256", "0" * 64)
    with pytest.raises(WeightzooError, match="is not the published file"):
        read_efficientnet()
