"""The list of Cython extensions; everything else about the build is in pyproject.toml."""

import os
import runpy
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

EXTENSIONS = {
    "bbolt_emitter": ["lmdb"],
    "bbolt_pages": [],
    "crc32c": [],
    "http2": [],
    "http2_headers": [],
    "http2_id_table": [],
    "http2_methods": [],
    "http2_receiver": ["nghttp2"],
    "http2_sender": [],
    "http2_stream": [],
    "http2_wire": [],
    "lmdb_file": ["lmdb"],
    "log_frame": [],
    "log_index": [],
    "log_store": [],
    "log_tail": [],
    "mem_table": [],
    "mvcc_executor": [],
    "mvcc_history": ["lmdb"],
    "mvcc_range": [],
    "range_counts": [],
    "count_walk": ["lmdb"],
    "mvcc_request": [],
    "mvcc_store": ["lmdb"],
    "mvcc_view": [],
    "padded_message": [],
    "peer_messages": [],
    "kv_path": [],
    "put_path": [],
    "range_path": [],
    "range_reader": ["lmdb"],
    "snapshot_reader": ["lmdb"],
    "snapshot_writer": ["lmdb"],
    "state_builder": ["lmdb"],
    "state_flusher": [],
    "state_tree": ["lmdb"],
    "state_undo": ["lmdb"],
    "state_writer": ["lmdb"],
    "wire": [],
    "zero_file": [],
    "command_batch": [],
    "watch_hub": [],
    "watch_response": [],
}
"""Module of `raftkv._native` -> the C libraries that it links."""

BENCH_EXTENSIONS = {
    "answer": [],
    "client": ["nghttp2"],
    "histogram": ["m"],
    "key_stream": ["m"],
    "load": [],
    "load_loop": [],
    "request": [],
}
"""The same of `bench.native`, which measures the store: built in place, and in no wheel."""


# Packages are looked for when setup() begins: the generated ones must be there by then.
TOOLS = Path(__file__).parent / "tools"
runpy.run_path(str(TOOLS / "generate.py"), run_name="__main__")
COMPILED = runpy.run_path(str(TOOLS / "compiled_sources.py"))

CORES = len(os.sched_getaffinity(0))
DEBUG = os.environ.get("RAFTKV_DEBUG_BUILD") == "1"
SOURCES = {f"raftkv/_native/{name}.pyx": libraries for name, libraries in EXTENSIONS.items()}
if "bdist_wheel" not in sys.argv:
    SOURCES |= {
        f"bench/native/{name}.pyx": libraries for name, libraries in BENCH_EXTENSIONS.items()
    }
present = {path: libraries for path, libraries in SOURCES.items() if Path(path).exists()}

DIRECTIVES = {
    "language_level": "3",
    "embedsignature": True,
    "boundscheck": DEBUG,
    "initializedcheck": False,
}

CHECKED = {"boundscheck": True, "nonecheck": True, "overflowcheck": True}
"""For the core: a broken invariant ends the member, and is no wild pointer."""


def extension(path: str, libraries: list[str]) -> Extension:
    return Extension(
        path.rpartition(".")[0].replace("/", "."),
        [path],
        libraries=libraries,
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O2", "-g1", "-fno-plt"],
    )


class BuildExtensions(build_ext):
    """As ever, and notes what was built from what: the tests refuse anything older."""

    def run(self) -> None:
        super().run()
        COMPILED["write_down"]()


setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[
        *cythonize(
            [extension(path, libraries) for path, libraries in present.items()],
            compiler_directives={**DIRECTIVES, "wraparound": False},
            annotate=DEBUG,
            nthreads=CORES,
        ),
        *cythonize(
            [extension(f"raftkv/raft/{name}.py", []) for name in COMPILED["CORE_MODULES"]],
            compiler_directives={**DIRECTIVES, **CHECKED, "annotation_typing": False},
            annotate=DEBUG,
            nthreads=CORES,
        ),
    ],
    options={"build_ext": {"parallel": CORES}},
)
