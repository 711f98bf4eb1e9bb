"""Packs the wheel: what `pip install bindings/python` runs (PEP 517), and the tests.

maturin builds one crate by itself, and with other features than the workspace's tests: libp2p once more. Here the library is
taken from KMS_NATIVE if that is set, and else built by cargo. A wheel is a zip of the package, the library and three texts.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME, VERSION = "kms", "0.1.0"
INFO = f"{NAME}-{VERSION}.dist-info"


def tag() -> str:
    """One wheel for every CPython from 3.9 on, on this machine's kind."""
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"cp39-abi3-{machine}"


def library() -> Path:
    """The native part."""
    if "KMS_NATIVE" in os.environ:
        return Path(os.environ["KMS_NATIVE"])
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "kms-python"], cwd=HERE, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(HERE.parent.parent / "target"))
    return Path(target) / "release" / "libkms_python.so"


def metadata() -> str:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {VERSION}",
        "Summary: Data that its owner encrypts, shares by m of n nodes, and withdraws",
        "License: Apache-2.0 OR MIT",
        "Requires-Python: >=3.9",
        "Description-Content-Type: text/markdown",
        "",
    ]
    return "\n".join(lines) + "\n" + (HERE / "README.md").read_text()


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    """Makes the wheel; gives the name of its file."""
    name = f"{NAME}-{VERSION}-{tag()}.whl"
    files: dict[str, bytes] = {}
    for path in sorted((HERE / "kms").iterdir()):
        if path.suffix in (".py", ".pyi") or path.name == "py.typed":
            files[f"kms/{path.name}"] = path.read_bytes()
    files["kms/_native.abi3.so"] = library().read_bytes()
    files[f"{INFO}/METADATA"] = metadata().encode()
    files[f"{INFO}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: pack\nRoot-Is-Purelib: false\nTag: {tag()}\n".encode()
    record = ""
    for name_within, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name_within},sha256={digest},{len(data)}\n"
    files[f"{INFO}/RECORD"] = (record + f"{INFO}/RECORD,,\n").encode()
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name_within, data in files.items():
            # The same files give the same wheel.
            entry = zipfile.ZipInfo(name_within, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if name_within.endswith(".so") else 0o644) << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED, 1)
    return name


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    raise NotImplementedError("the sources are the whole repository")
