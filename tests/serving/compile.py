"""Compiling `serve.c`, for tests and benchmarks, against the C API that TensorFlow's wheel ships."""

import subprocess
from pathlib import Path

import tensorflow as tf


def compile_program(program, libraries=Path(tf.__file__).parent):
    """Compiles it to a file against an installed TensorFlow, and returns that."""
    command = ["gcc", "-O1", "-D_GNU_SOURCE", str(Path(__file__).with_name("serve.c")), "-o", str(program)]
    command += [f"-I{libraries / 'include'}", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run(command, check=True, capture_output=True)
    return program
