"""Heads: how exporters lay a detector's candidates out, one class a layout, each giving the same `Candidates`.

Imports `runtime.contract` and nothing of `runtime.decoding` but this folder; decoders of boxes import it.
"""
