"""The annotated reference of the manifest: manual and test case in one file."""

from __future__ import annotations

from importlib.resources import files


def reference_text() -> str:
    """Return ``reference.yaml``: fleet.yaml, a profile and a model, every key explained."""
    return files("fleet.manifest").joinpath("reference.yaml").read_text(encoding="utf-8")


def reference_documents() -> dict[str, str]:
    """Return the three files that the reference shows: ``fleet``, ``profile`` and ``model`` → text."""
    fleet, profile, model = reference_text().split("\n---\n")
    return {"fleet": fleet + "\n", "profile": profile + "\n", "model": model}
