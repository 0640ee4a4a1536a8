"""Generate the code and data that the sources describe and git does not hold.

Two products, each rebuilt only when its input is newer:

- protobuf modules and their type stubs, from `proto/` into `raftkv/pb` and `orchestrator/pb`;
- the Kubernetes schemas, trimmed from the build-time package `kubernetes-validate` by
  `tools/kubernetes_schemas.py`.

Run by `setup.py` (wheels) and by `make build` (checkouts).
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"

PACKAGES = {
    "etcd": "raftkv.pb",
    "cri": "orchestrator.pb",
    "kubernetes": "orchestrator.pb",
}
"""Folder under `proto/` -> the Python package that receives its modules."""


def generate_protobuf(folder: str, package: str) -> None:
    """Compile every `proto/<folder>/*.proto` into `<package>.<folder>`."""
    sources = sorted((PROTO / folder).glob("*.proto"))
    target = ROOT / package.replace(".", "/")
    made = target / folder
    newest = max(path.stat().st_mtime for path in [*sources, Path(__file__)])
    stamps = [made / f"{path.stem}_pb2.py" for path in sources]
    if all(path.exists() and path.stat().st_mtime >= newest for path in stamps):
        return
    from grpc_tools import protoc

    made.mkdir(parents=True, exist_ok=True)
    well_known = Path(protoc.__file__).parent / "_proto"  # google/protobuf/descriptor.proto
    arguments = [
        "protoc",
        f"-I{PROTO}",
        f"-I{well_known}",
        f"--python_out={target}",
        f"--pyi_out={target}",
    ]
    if protoc.main([*arguments, *map(str, sources)]) != 0:
        sys.exit(f"protoc could not compile proto/{folder}")
    (made / "__init__.py").write_text(f'"""Generated from proto/{folder}."""\n')
    for path in made.glob("*_pb2.py*"):
        text = path.read_text()
        path.write_text(
            re.sub(rf"(?m)^from {folder} import", f"from {package}.{folder} import", text)
        )
    print(f"generated {package}.{folder}")


def generate_schemas() -> None:
    """Run `tools/kubernetes_schemas.py` where it exists."""
    script = ROOT / "tools" / "kubernetes_schemas.py"
    spec = importlib.util.spec_from_file_location("kubernetes_schemas", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


def main() -> None:
    for folder, package in PACKAGES.items():
        if (PROTO / folder).is_dir():
            generate_protobuf(folder, package)
    if (ROOT / "tools" / "kubernetes_schemas.py").exists():
        generate_schemas()


if __name__ == "__main__":
    main()
