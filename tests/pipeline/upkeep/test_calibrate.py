"""Measuring a fleet: in parts that fit into memory, and what a process says of its own memory."""

import dataclasses
import subprocess
import sys

import pytest
import torch

import pipeline.fleets.fleet
from pipeline.executors.process import peak_memory, present_memory
from pipeline.fleets.fleet import crops_at_once, measure
from pipeline.fleets.shared import load_training_context
from pipeline.presets import PRESETS
from pipeline.upkeep.calibrate import fewer_crops, most_concepts
from zoo.training.train_gan import initial_params, run_generators

LAUNCHED = 700 * 2**20
CHILD = "from pipeline.executors.process import peak_memory; print(peak_memory())"


@pytest.mark.parametrize("own_sources", [False, True])
def test_parts_change_no_metric(micro_zoo, monkeypatch, own_sources):
    context, sizes = load_training_context(str(micro_zoo)), []

    def spied(generator, params, images):
        sizes.append(images.shape[-4])
        return run_generators(generator, params, images)

    monkeypatch.setattr(pipeline.fleets.fleet, "run_generators", spied)
    blocks = context.layout.to_blocks(initial_params(context.generator, "adapter", 2)).half()
    sources = context.test_sources
    targets = torch.stack([1 - sources, sources.flip(1)])
    if own_sources:
        sources = torch.stack([sources, sources.roll(1, 0)])
    whole = measure(context, blocks, sources, targets)
    assert sizes == [4]
    monkeypatch.setattr(pipeline.fleets.fleet, "PIXELS_AT_ONCE", 3 * 2 * 16 * 16)
    for row, expected in zip(measure(context, blocks, sources, targets), whole, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert sizes == [4, 3, 1]


def test_only_large_fleets_are_measured_in_parts():
    assert crops_at_once(PRESETS["tiny"]()) >= PRESETS["tiny"]().num_test_crops
    paper = PRESETS["paper"]()
    assert 1 <= crops_at_once(paper) * paper.fleet_size * paper.image_size**2 <= 2**22


def test_a_part_of_a_fleet_measures_as_many_crops_at_once_as_a_whole_one():
    for config in (PRESETS["paper"](), dataclasses.replace(PRESETS["paper"](), image_size=64, fleet_size=17)):
        assert most_concepts(config, "cpu") < config.fleet_size
        few = fewer_crops(config, "cpu")
        assert few.num_test_crops >= crops_at_once(few) == crops_at_once(config)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own figure of a process")
def test_a_process_does_not_count_the_memory_of_the_one_that_launched_it():
    launch = f"import subprocess, sys; held = bytearray(b'1') * {LAUNCHED}; " + (
        f"sys.exit(subprocess.run([sys.executable, '-c', {CHILD!r}]).returncode)"
    )
    done = subprocess.run([sys.executable, "-c", launch], stdout=subprocess.PIPE, text=True, check=True)
    assert 0 < int(done.stdout) < LAUNCHED
    assert 0 < present_memory() <= peak_memory()
