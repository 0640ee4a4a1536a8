# cython: language_level=3
"""A libFuzzer program whose target is a Python function: `tests.fuzz.targets.<FUZZ_TARGET>.run`.

The interpreter lives inside the program, so that AddressSanitizer's allocator and libFuzzer's
counters are there before anything is loaded. Native modules bring their own counters; lines of
Python under `raftkv/` are counted here, by a trace function, in the section that libFuzzer keeps
for counters of the target's own. An exception that leaves the function is a crash.

With FUZZ_LEAKS=<folder> nothing is mutated: the folder's files run in rounds, and memory that is
still allocated must not grow from round to round.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport abort

import gc
import os
import pathlib
import sys
import traceback
from itertools import pairwise

cdef extern from *:
    """
    #include <Python.h>
    #include <frameobject.h>
    #define PAIRS 65536
    __attribute__((section("__libfuzzer_extra_counters")))
    static unsigned char pair_counters[PAIRS];
    extern size_t __sanitizer_get_current_allocated_bytes(void);
    PyMODINIT_FUNC PyInit_fuzz_driver(void);
    """
    ctypedef struct PyFrameObject:
        pass
    enum:
        PAIRS
        PyTrace_LINE
    uint8_t *pair_counters
    size_t __sanitizer_get_current_allocated_bytes() nogil
    object PyInit_fuzz_driver()
    PyObject *PyFrame_GetCode "(PyObject *)PyFrame_GetCode"(PyFrameObject *frame)
    int PyFrame_GetLineNumber(PyFrameObject *frame)
    ctypedef int (*Py_tracefunc)(PyObject *, PyFrameObject *, int, PyObject *) except -1
    void PyEval_SetTrace(Py_tracefunc function, PyObject *argument)
    int PyImport_AppendInittab(const char *name, object (*init)()) nogil
    void Py_InitializeEx(int signals) nogil
    void Py_DECREF_pointer "Py_DECREF"(PyObject *)

cdef object target                 # run(bytes) -> None
cdef dict bases = {}               # code object -> where its lines begin among the counters; or -1
cdef uint32_t previous_line

LEAK_ROUNDS = 8
LEAK_BYTES_A_RUN = 8               # less than any object: what the interpreter keeps for itself


cdef int on_event(PyObject *_, PyFrameObject *frame, int event, PyObject *_argument) except -1:
    """Count a pair of lines that ran one after the other."""
    global previous_line
    cdef PyObject *code
    cdef object base
    cdef uint32_t line
    if event != PyTrace_LINE:
        return 0
    code = PyFrame_GetCode(frame)
    base = bases.get(<object>code)
    if base is None:
        base = base_of(<object>code)
    Py_DECREF_pointer(code)
    if base < 0:
        return 0
    line = (<uint32_t>base + <uint32_t>PyFrame_GetLineNumber(frame) * 2654435761u) % PAIRS
    pair_counters[line ^ previous_line] += 1
    previous_line = line >> 1
    return 0


def base_of(code):
    """Say where the lines of a code object are counted; the same in every run."""
    name = code.co_filename
    base = -1
    if "/raftkv/" in name and "/raftkv/pb/" not in name:
        base = 0
        for byte in name[name.index("/raftkv/"):].encode():
            base = (base * 31 + byte) % PAIRS
    bases[code] = base
    return base


def check_leaks(folder):
    """Run the files of a folder in rounds; fail where each of the last ones leaves more behind.

    What grows once is a table of the interpreter, as of interned names, that was full.
    """
    inputs = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
    sizes = []
    for _ in range(LEAK_ROUNDS):
        for data in inputs:
            target(data)
        gc.collect()                # a cycle is no leak, though one a request would be a pity
        sizes.append(__sanitizer_get_current_allocated_bytes())
    grown = min(after - before for before, after in pairwise(sizes[LEAK_ROUNDS // 2:]))
    print(f"leaks: {len(inputs)} inputs, {LEAK_ROUNDS} rounds; the last leave {grown} bytes each")
    if grown > LEAK_BYTES_A_RUN * len(inputs):
        raise MemoryError(f"allocated after each round: {sizes}")


cdef int begin() noexcept with gil:
    global target
    try:
        import importlib
        module = importlib.import_module(f"tests.fuzz.targets.{os.environ['FUZZ_TARGET']}")
        target = module.run
        if os.environ.get("FUZZ_LEAKS"):
            check_leaks(os.environ["FUZZ_LEAKS"])
            sys.stdout.flush()
            os._exit(0)
        PyEval_SetTrace(on_event, NULL)
        return 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


cdef int run_once(const uint8_t *data, size_t size) noexcept with gil:
    global previous_line
    previous_line = 0
    try:
        target((<const char *>data)[:size])
    except BaseException:
        sys.stdout.flush()
        traceback.print_exc()
        sys.stderr.flush()
        abort()
    return 0


cdef public int LLVMFuzzerInitialize(int *count, char ***values) noexcept nogil:
    PyImport_AppendInittab(b"fuzz_driver", PyInit_fuzz_driver)
    Py_InitializeEx(0)
    return import_and_begin()


cdef int import_and_begin() noexcept nogil:
    import_driver()
    return begin()


cdef extern from *:
    """
    static void import_driver(void) {
        PyObject *module = PyImport_ImportModule("fuzz_driver");
        if (module == NULL) { PyErr_Print(); abort(); }
    }
    """
    void import_driver() nogil


cdef public int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) noexcept nogil:
    return run_once(data, size)
