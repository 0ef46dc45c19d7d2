"""Jetfleet: the operator's side and CI.

Imports `runtime.contract` and nothing else of `runtime`, which never imports it.
"""
