"""Builds the compiled modules, tailrace._fanout and tailrace._json; everything else is in pyproject.toml.

The extensions are required: there is no slower fallback that could be taken without anybody noticing. Their sources
lie outside the package, so that src/ is never importable by accident; the generated C goes to build/cython.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

extensions = [
    Extension(f"tailrace.{name}", [f"src/{name}.pyx"], extra_compile_args=["-O3", "-fno-strict-aliasing"])
    for name in ("_fanout", "_json")
]

setup(ext_modules=cythonize(extensions, build_dir="build/cython", language_level=3))
