"""Which tensors of a model a decoder reads: one, or several by their roles. Stdlib only, Python 3.8."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence, Tuple

from runtime.contract.node.box_options import HEADS, INSTANCE_ROLES
from runtime.contract.node.decoders import DECODER_OPTIONS, is_plugin


def tensor_roles(decoder: str, options: Mapping[str, Any]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """Return the roles that a built-in decoder needs under ``tensors``, and those that it can do without. None at all:
    it reads one tensor."""
    if decoder == "instances":
        return INSTANCE_ROLES, ()
    head = HEADS.get(str(options.get("head", ""))) if decoder == "boxes" else None
    return ((), ()) if head is None else (head.roles, head.optional)


def tensors_problem(decoder: str, options: Mapping[str, Any], roles: Sequence[str]) -> Optional[Tuple[str, str]]:
    """Return what is wrong with the tensors that an output names for its decoder, and what to do; None: nothing.

    ``roles`` are the keys of ``tensors``, none where the output has one ``tensor``.
    """
    if is_plugin(decoder) or decoder not in DECODER_OPTIONS:
        return None
    needed, optional = tensor_roles(decoder, options)
    what = "{} with head {}".format(decoder, options["head"]) if options.get("head") else decoder
    if not needed:
        return ("{} reads one tensor".format(what), "write tensor: and its name") if roles else None
    missing = [role for role in needed if role not in roles]
    unknown = sorted(set(roles) - set(needed) - set(optional))
    wanted = "write tensors: {{{}}}{}".format(
        ", ".join("{}: NAME".format(role) for role in needed),
        ", and where the model has it {}".format(" and ".join(optional)) if optional else "",
    )
    if missing:
        return "{} needs tensors for {}".format(what, ", ".join(missing)), wanted
    return ("{} has no tensor {}".format(what, ", ".join(unknown)), wanted) if unknown else None
