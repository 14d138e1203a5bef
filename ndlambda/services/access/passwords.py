"""Passwords, kept as scrypt hashes with the parameters they were made with."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

# OWASP's password storage cheat sheet: N = 2^14, r = 8, p = 5 (16 MiB of memory).
_COST = {"n": 1 << 14, "r": 8, "p": 5}
_MAX_MEMORY = 64 * 1024 * 1024
_NOBODY: dict[str, Any] = {**_COST, "salt": "00" * 16, "hash": ""}


def hash_password(password: str) -> dict[str, Any]:
    """Return what to store of a password: a JSON object with salt, hash and parameters."""
    salt = os.urandom(16)
    return {**_COST, "salt": salt.hex(), "hash": _scrypt(password, salt, _COST).hex()}


def verify_password(password: str, stored: Mapping[str, Any] | None) -> bool:
    """Return whether a password is the stored one; None (no password) takes as long: False."""
    record = _NOBODY if stored is None else stored
    found = _scrypt(password, bytes.fromhex(record["salt"]), record)
    return hmac.compare_digest(found, bytes.fromhex(record["hash"]))


def _scrypt(password: str, salt: bytes, cost: Mapping[str, Any]) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost["n"],
        r=cost["r"],
        p=cost["p"],
        maxmem=_MAX_MEMORY,
        dklen=32,
    )
