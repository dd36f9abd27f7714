"""The card of a trained model: what it was trained on, how, and what it came to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

import lsr
from lsr.training.processes import Processes
from lsr.training.recipe import MULTIVECTOR, Recipe
from lsr.training.student import Student
from lsr.training.trainer import Outcome

__all__ = ["card", "in_words", "readme", "recipe_json"]


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON says it, without the folder that it lay in."""
    found: dict[str, Any] = json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if k != "folder"}))
    return found


def card(
    recipe: Recipe, student: Student, facts: dict[str, Any], outcome: Outcome, processes: Processes, precision: str
) -> dict[str, Any]:
    """Everything about a training, as JSON says it."""
    told = recipe_json(recipe)
    gpu = processes.device.type == "cuda"
    return {
        "name": recipe.name,
        "licence": recipe.licence,
        "trained": datetime.now(UTC).date().isoformat(),
        "lsr": lsr.__version__,
        "torch": torch.__version__,
        "machine": {
            "device": torch.cuda.get_device_name(processes.device) if gpu else "CPU",
            "processes": processes.world,
            "precision": precision,
            "peak_memory_gb": round(torch.cuda.max_memory_allocated(processes.device) / 1e9, 2) if gpu else None,
        },
        "parameters": sum(p.numel() for p in {id(p): p for p in student.documents.parameters()}.values()),
        "recipe_sha256": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest(),
        "recipe": told,
        "data": facts,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "final_loss": outcome.loss,
        "last_evaluation": outcome.last,
        "best_evaluation": outcome.best,
    }


def readme(card: dict[str, Any]) -> str:
    """The card for people, in the form of model cards."""
    recipe, data, best = card["recipe"], card["data"], card["best_evaluation"]
    licence = f"license: {card['licence'].lower()}\n" if card["licence"] else ""
    run, kinds = recipe["run"], data["kinds"]
    several = recipe["document"]["kind"] == MULTIVECTOR
    lines = [
        "---",
        f"{licence}library_name: sentence-transformers",
        f"tags: [{'multi-vector' if several else 'sparse-encoder, sparse'}, lsr]",
        "pipeline_tag: feature-extraction",
        "---",
        "",
        f"# {card['name']}",
        "",
        f"{_what(recipe)}, started from {recipe['start']['model']}, trained with lsr {card['lsr']} on {card['trained']}.",
        "",
        f"    lsr index docs.jsonl -o my.idx --{'multivector' if several else 'encoder'} FOLDER",
        "",
        f"{card['parameters']:,} parameters. {card['steps']:,} steps of {run['batch']:,} queries in "
        f"{card['seconds']:,.0f} s on {card['machine']['device']} ({card['machine']['precision']}).",
        "",
        f"{data['documents']:,} documents, {data['queries']:,} queries, teachers: {', '.join(data['teachers']) or 'none'}.",
        "",
        "| queries | number | share of batches |",
        "|---|--:|--:|",
        *(f"| {kind} | {found['queries']:,} | {found['share']:.3f} |" for kind, found in kinds.items()),
    ]
    if best:
        kept = "The last weights" if recipe["evaluate"]["keep"] == "last" else "Best"
        lines += [
            "",
            f"{kept} on the development set at step {best['step']:,}: {in_words(best)}.",
        ]
    lines += ["", "training.json has the recipe, hashes and all figures, training_log.jsonl the log."]
    return "\n".join(lines) + "\n"


def in_words(evaluation: dict[str, Any]) -> str:
    """What an evaluation came to."""
    size = f"{evaluation['vectors']:.0f} vectors" if "vectors" in evaluation else f"{evaluation['nnz']:.0f} terms"
    flops = f", FLOPS {evaluation['flops']:.2f}" if "flops" in evaluation else ""
    return f"nDCG@10 {evaluation['ndcg']:.4f}, {size} a document{flops}"


def _what(recipe: dict[str, Any]) -> str:
    if recipe["document"]["kind"] == MULTIVECTOR:
        return "A multivector encoder for reranking (MaxSim)"
    return f"A sparse encoder: queries by {recipe['query']['kind']}, documents by {recipe['document']['kind']}"
