"""The tables of the report: zero steps, time to quality, after fine-tuning, copies, fleets, seconds, words.

html = tables(results)           # results: the content of evaluation.json; a list of pieces of HTML
"""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import Any

from weightgen.report_html import number, spread, table
from zoo.words import plural

Row = dict[str, Any]
OURS = "polished"
SPLIT_WORDS = {
    "combination": "new combinations of things the zoo has",
    "value": "colours, strengths and settings that the zoo lacks",
    "family": "whole kinds of edits that the zoo lacks",
    "external": "edits by other tools on other photographs, requested in free text",
}
WORDS = {
    "copy": "the source image itself",
    "scratch": "the same architecture from random initialisation, with a random discriminator",
    "base": "the base generator under all adapters; in full mode its adapter is merged, all weights free",
    "mean, nearest, knn, ridge, kernel_ridge": "baselines on the zoo's weights, from the text embedding; "
    "their hyperparameters are chosen on the validation split",
    "generated": "the weight generator trained on weights alone, one step; <i>few_steps</i>: 20 DDIM steps; "
    "<i>unet1d</i>: the per-block 1-D UNet",
    "polished": "the same network after the second training, by pictures",
    "shuffled": "the same weight generator with the prompts of other concepts",
    "own": "an adapter trained for the concept as the zoo's were (external edits: on their 16 pairs)",
    "L1, PSNR": "on RGB in [0, 1] at the training size, mean over concepts; [95 % bootstrap over concepts]",
    "KID": "unbiased polynomial-kernel distance, all concepts of a split pooled, the same images for every "
    "method, no image compared with its own target; lower is better",
    "times fewer steps": "median over concepts of scratch's budget (or base's steps) over the start's steps; "
    "≥: some of the ratios are lower bounds",
    "reached": "concepts that reach the quality at all; the others count with a ratio of 0",
}


def tables(results: Row) -> list[str]:
    """All tables, in order."""
    return [
        *zero_section(results),
        *speed_section(results["speedup"]),
        *final_section(results["final"]),
        *budget_section(results.get("budgets", [])),
        *novelty_section(results["novelty"], results["diversity"]),
        *fleet_section(results["fleet"]),
        *seconds_section(results["timing"]),
        "<h2>Words</h2>",
        table(["", ""], [[f"<b>{name}</b>", text] for name, text in WORDS.items()]),
    ]


def by_l1(row: Row) -> float:
    return float("inf") if row["l1"] is None else row["l1"]


def zero_section(results: Row) -> list[str]:
    """The zero-step table of every split."""
    lines = [
        "<h2>Zero steps</h2>",
        "<p>Generated weights, before any training. Each concept is requested in words that describe no concept of "
        "the zoo: in one wording, or in four whose weights are averaged (4 prompts).</p>",
    ]
    columns = ["start", "L1", "sd", "PSNR", "SSIM", "KID", "concepts", "L1, 4 prompts"]
    for split in dict.fromkeys(row["split"] for row in results["zero_step"]):
        rows = [row for row in results["zero_step"] if row["split"] == split]
        four = {row["init"]: row["l1"] for row in rows if row["prompts"] == 4}
        cells = [
            [
                *(r["init"], spread(r, "l1"), r["l1_sd"], r["psnr"], r["ssim"], spread(r, "kid"), r["n"]),
                four.get(r["init"]),
            ]
            for r in sorted(rows, key=by_l1)
            if r["prompts"] == 1
        ]
        lines += [f"<h3>{split}: {SPLIT_WORDS.get(split, '')}</h3>", table(columns, cells, mark=OURS)]
    apart = [
        [f"{row['split']}, {row['init']}", row["l1"], row["psnr"], row["n"]]
        for row in results["near_duplicates"]
        if row["prompts"] == 1
    ]
    if apart:
        title = "Near-duplicates of zoo concepts, not counted above"
        lines.append(folded(title, table(["split, start", "L1", "PSNR", "concepts"], apart)))
    return lines


def folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def speed_section(rows: list[Row]) -> list[str]:
    """The time-to-quality tables: scratch's final quality first, other qualities folded away."""
    if not rows:
        return []
    lines = [
        "<h2>Time to quality</h2>",
        "<p>How many times sooner a start reaches the test L1 that training from scratch has at the end of its "
        "budget. Over pix2pix_unet, it is the test L1 of the classic U-Net trained from scratch. Concepts that never "
        "reach it count with a ratio of 0.</p>",
    ]
    columns = ["start", "split", "pairs", "mode", "times fewer steps", "IQR", "times less time"]
    columns += ["scratch's first reach", "reached", "lower bounds", "upper bounds", "steps needed"]
    main = [row for row in rows if (row["quality_at"], row["l1_factor"]) == (100, 1.0)]
    for over in ("scratch", "base", "pix2pix_unet"):
        chosen = [row for row in main if row["over"] == over]
        if not chosen:
            continue
        chosen.sort(key=lambda row: (row["split"], row["pairs"], row["mode"], -(row["median"] or 0)))
        lines.append(table(columns, map(speed_cells, chosen), caption=f"over {over}", mark=OURS))
    other = [
        [
            *(
                row[key]
                for key in ("init", "over", "split", "pairs", "mode", "quality_at", "l1_factor", "median")
            ),
            row["median_seconds"],
            reached(row),
        ]
        for row in rows
        if row not in main
    ]
    if other:
        columns = ["start", "over", "split", "pairs", "mode", "at % of scratch's budget", "x its L1"]
        columns += ["times fewer steps", "times less time", "reached"]
        lines.append(folded("Other qualities", table(columns, other, mark=OURS)))
    return lines


def speed_cells(row: Row) -> list[Any]:
    return [
        *(row[key] for key in ("init", "split", "pairs", "mode")),
        f"{bound(row)}{number(row['median'])}",
        f"{number(row['iqr'][0])} – {number(row['iqr'][1])}",
        row["median_seconds"],
        row["median_first_reach"],
        reached(row),
        row["lower_bounds"],
        row["upper_bounds"],
        row["median_steps"],
    ]


def bound(row: Row) -> str:
    """What stands before a ratio some of whose members are bounds only."""
    lower, upper = row["lower_bounds"] > 0, row["upper_bounds"] > 0
    return {(True, False): "≥ ", (False, True): "≤ ", (True, True): "about "}.get((lower, upper), "")


def reached(row: Row) -> str:
    return f"{row['reached_count']} of {row['n']}"


def final_section(rows: list[Row]) -> list[str]:
    """Quality at the end of fine-tuning."""
    lines = ["<h2>After fine-tuning</h2>"] if rows else []
    columns = ["start", "L1", "over scratch", "PSNR", "KID", "steps", "seconds", "start-up seconds"]
    columns += ["learning rate", "concepts"]
    for split, mode, pairs in dict.fromkeys((row["split"], row["mode"], row["pairs"]) for row in rows):
        members = [r for r in rows if (r["split"], r["mode"], r["pairs"]) == (split, mode, pairs)]
        cells = [
            [
                *(row["init"], spread(row, "l1"), row["l1_over_scratch"], row["psnr"], spread(row, "kid")),
                *(row[key] for key in ("steps", "seconds", "init_seconds", "learning_rate", "n")),
            ]
            for row in sorted(members, key=by_l1)
        ]
        lines.append(table(columns, cells, caption=f"{split}, {plural(pairs, 'pair')}, {mode} mode", mark=OURS))
    return lines


def budget_section(rows: list[Row]) -> list[str]:
    """What there is at the end of trainings of several lengths, by start."""
    if not rows:
        return []
    lines = [
        "<h2>Quality by budget</h2>",
        "<p>Test L1 after a training whose schedule ends there, as with <code>weightzoo finetune --steps</code>. "
        "The seconds are for one network alone and include start-up.</p>",
    ]
    groups: dict[tuple[str, int, str, int], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["steps"])):
        groups[row["mode"], row["pairs"], row["split"], row["n"]].append(row)
    for (mode, pairs, split, n), own in groups.items():
        budgets = sorted({row["steps"] for row in own})
        cells: dict[str, dict[int, Row]] = defaultdict(dict)
        for row in own:
            cells[row["init"]][row["steps"]] = row
        body = []
        for init in sorted(cells, key=lambda i: by_l1(next(iter(cells[i].values()))), reverse=True):
            mine = [cells[init].get(steps) for steps in budgets]
            body.append([init, *(f"{number(r['l1'])} in {number(r['seconds'])} s" if r else "" for r in mine)])
        columns = ["start", *(plural(steps, "step") for steps in budgets)]
        caption = f"{mode} mode, {plural(pairs, 'pair')}, {plural(n, 'concept')} of {split}"
        lines.append(table(columns, body, caption=caption, mark=OURS))
    return lines


def novelty_section(rows: list[Row], samples: Row | None) -> list[str]:
    """Distances to the nearest zoo member, and among samples of one prompt."""
    if not rows:
        return []
    zoo = rows[0]
    keys = ["init", "nearest_median", "nearest_min", "closer_than_zoo_p5", "norm_median"]
    keys += ["cosine_median", "cosine_max", "n"]
    columns = [
        "start",
        "to the nearest, median",
        "smallest",
        "share below the zoo's 5 %",
        "from the zoo mean",
    ]
    columns += ["cosine to the nearest, median", "largest", "networks"]
    return [
        "<h2>Not a copy</h2>",
        "<p>Distance of each network to its nearest zoo member, in normalised weights. Zoo members are "
        f"{number(zoo['zoo_nearest_median'])} from their nearest neighbour (median; 5 % are below "
        f"{number(zoo['zoo_nearest_p5'])}) and {number(zoo['zoo_norm_median'])} from the zoo mean. Networks near the "
        "mean are near to everything, so the cosine of the deviations from the mean stands beside it: 1 is a copy; "
        f"zoo members have {number(zoo['zoo_cosine_median'])} to the most similar other one (median; 5 % are "
        f"above {number(zoo['zoo_cosine_p95'])}).</p>",
        table(columns, [[row[key] for key in keys] for row in rows], mark=OURS),
        *diversity_words(samples),
    ]


def diversity_words(samples: Row | None) -> list[str]:
    if samples is None:
        return []
    return [
        f"<p>Sampled in few steps, {plural(samples['networks'], 'network')} for the same prompt are "
        f"{number(samples['pairwise_median'])} apart (median over {plural(samples['prompts'], 'prompt')}); "
        f"two members of the zoo are {number(samples['zoo_pairwise_median'])} apart.</p>"
    ]


def fleet_section(rows: list[Row]) -> list[str]:
    """Throughput of zoo training."""
    if not rows:
        return []
    cells = [
        [
            f"fleet of {row['k']}" if row["k"] else "naive loop, one at a time",
            row["concepts_per_minute"],
            row["step_seconds"],
        ]
        for row in rows
    ]
    caption = f"zoo training, {plural(rows[0]['steps_per_concept'], 'step')} per concept, one thread"
    return ["<h2>Fleets</h2>", table(["", "concepts per minute", "seconds per step"], cells, caption)]


def seconds_section(timing: Row) -> list[str]:
    """What start-up and steps cost."""
    parts = ("load", "text", "generate", "merge", "total")
    cells = [[init, *(seconds[part] for part in parts)] for init, seconds in timing["init_seconds"].items()]
    steps = ", ".join(f"{mode} {number(seconds)}" for mode, seconds in timing["step_seconds"].items())
    return [
        "<h2>Seconds</h2>",
        f"<p>{escape(timing['how'])}. Seconds per step: {escape(steps)}.</p>",
        table(["start", *parts], cells, mark=OURS),
    ]
