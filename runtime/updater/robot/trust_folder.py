"""The trust root on this robot's disk, and ``ssh-keygen``: the real robot's side of trust.

``/var/lib/jetfleet/trust-root/root.json`` is the root that counts. A robot that an older version was installed on has
lists in ``/var/lib/jetfleet/trust`` instead, which count as root 0 until it gets its first root, and no longer.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.robot.root import LIMITS, ROOT_FILE, ROOT_FOLDER, UPDATER_FILE, HeldRoot, TrustRoot, read_root
from runtime.contract.robot.signatures import judge_signature
from runtime.contract.robot.trust import (
    ALLOWED_SIGNERS,
    REVOKED,
    TRUST_FILE,
    TRUST_FOLDER,
    SignatureFacts,
    Signed,
    TrustSettings,
)
from runtime.updater.robot import process
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import remove, replace_durable

KEYGEN_S = 20.0
#: What to do when it is damaged.
BY_HAND = 'see docs/robot-recovery.md, "The trust root"'


class TrustFolder:
    """Holds the root, and asks ``ssh-keygen`` about signatures."""

    def __init__(self, root: Path) -> None:
        self._root_folder = root / ROOT_FOLDER
        self._trust = root / TRUST_FOLDER
        self._work = root / "state"
        self._taking = threading.Lock()

    def held_root(self) -> Optional[HeldRoot]:
        """Return the root that counts, root 0 for an older version's lists, or None when nobody ever gave any."""
        path = self._root_folder / ROOT_FILE
        try:
            signed = from_json(Signed, path.read_bytes(), LIMITS)
            return HeldRoot(read_root(signed.statement), signed)
        except FileNotFoundError:
            return self._older_lists()
        except (OSError, ContractError) as error:
            raise WorldError("{} cannot be read: {}".format(path, error), BY_HAND) from error

    def trust(self) -> Optional[TrustSettings]:
        """Return what this robot wants to see signed, or None when nobody ever said so."""
        held = self.held_root()
        return None if held is None else held.root.settings

    def check_signature(self, statement: str, signature: str, namespace: str) -> SignatureFacts:
        """Judge one armored signature over ``statement`` by this robot's root, in the role of its namespace."""
        held = self.held_root()
        if held is None or not held.root.signers.strip():
            raise WorldError("this robot knows no signers", "run `fleet bootstrap` again")
        return self.judge(held.root, statement, signature, namespace)

    def judge(self, root: TrustRoot, statement: str, signature: str, namespace: str) -> SignatureFacts:
        """Judge one armored signature by the keys of ``root``, which need not count here yet."""
        contents = (signature.encode("utf-8", "replace"), root.allowed(namespace).encode("utf-8"), root.revoked_keys)
        paths = self._files(contents)
        try:
            made, allowed, revoked = (str(path) for path in paths)
            return judge_signature(
                _run,
                statement.encode("utf-8"),
                namespace,
                signature=made,
                allowed=allowed,
                revoked=revoked if root.revoked else "",
            )
        finally:
            for path in paths:
                remove(path)

    def take_root(self, chain: Sequence[Signed], fleet: str) -> HeldRoot:
        """Follow ``chain`` from the root that counts, and keep its end; on disk when this returns.

        Raises RootRefused, and WorldError.
        """
        from runtime.contract.robot.root_chain import follow  # an idle updater may take little memory

        with self._taking:
            held = self.held_root()
            found = follow(held, fleet, chain, self.judge)
            if held is None or found != held:
                self._write(ROOT_FILE, found.signed)
            return found

    def forget_root(self) -> None:
        """Take root, and an older version's lists, away: the next one is taken as a new robot takes its first."""
        with self._taking:
            try:
                for path in (self._root_folder / ROOT_FILE, *(self._trust / name for name in _OLDER)):
                    remove(path)
            except OSError as error:
                raise WorldError("the trust root cannot be removed: {}".format(error), "use sudo") from error

    def updater_statement(self) -> Optional[Signed]:
        """Return the statement of the newest updater that was ever kept here, or None."""
        path = self._root_folder / UPDATER_FILE
        try:
            return from_json(Signed, path.read_bytes(), LIMITS)
        except FileNotFoundError:
            return None
        except (OSError, ContractError) as error:
            raise WorldError("{} cannot be read: {}".format(path, error), BY_HAND) from error

    def keep_updater_statement(self, signed: Signed) -> None:
        """Keep the statement of an updater that has proven itself: no older one is taken from now on."""
        self._write(UPDATER_FILE, signed)

    def _write(self, name: str, signed: Signed) -> None:
        path = self._root_folder / name
        try:
            self._root_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            replace_durable(path, canonical_json(signed) + b"\n")
        except OSError as error:
            raise WorldError("cannot write {}: {}".format(path, error), "free space on that volume") from error

    def _older_lists(self) -> Optional[HeldRoot]:
        path = self._trust / TRUST_FILE
        try:
            settings = from_json(TrustSettings, path.read_bytes())
            signers, revoked = self._trust / ALLOWED_SIGNERS, self._trust / REVOKED
            root = TrustRoot(
                fleet=settings.fleet,
                version=0,
                signers=signers.read_text(encoding="utf-8", errors="replace") if signers.exists() else "",
                threshold=max(1, settings.threshold),
                revoked=base64.b64encode(revoked.read_bytes()).decode("ascii") if revoked.exists() else "",
                unsigned=settings.unsigned,
                max_release_s=settings.max_release_s,
                max_rollback_s=settings.max_rollback_s,
            )
        except FileNotFoundError:
            return None
        except (OSError, ContractError) as error:
            raise WorldError("{} cannot be read: {}".format(path, error), "run `fleet bootstrap` again") from error
        return HeldRoot(root)

    def _files(self, contents: Sequence[bytes]) -> List[Path]:
        """Put each content into a file, for ssh-keygen; threads ask side by side."""
        name = ".judge-{}".format(threading.get_ident())
        paths = [self._work / "{}-{}".format(name, number) for number in range(len(contents))]
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            for number, path in enumerate(paths):
                path.write_bytes(contents[number])
        except OSError as error:
            raise WorldError("cannot write {}: {}".format(paths[0], error), "free space on that volume") from error
        return paths


_OLDER = (TRUST_FILE, ALLOWED_SIGNERS, REVOKED)


def _run(words: Sequence[str], given: bytes) -> Tuple[int, str, str]:
    try:
        ran = process.run(["ssh-keygen", *words], KEYGEN_S, given=given)
    except WorldError as error:
        hint = "install openssh-client on the robot"
        raise WorldError(error.message, hint, transient=error.transient) from error
    return ran.code, ran.out, ran.err
