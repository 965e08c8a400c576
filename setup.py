"""Builds the one compiled module, tailrace._fanout; everything else is in pyproject.toml.

The extension is required: there is no slower fallback that could be taken without anybody noticing. Its source lies
outside the package, so that src/ is never importable by accident; the generated C goes to build/cython.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

fanout = Extension(
    "tailrace._fanout",
    ["src/_fanout.pyx"],
    extra_compile_args=["-O3", "-fno-strict-aliasing"],
)

setup(ext_modules=cythonize([fanout], build_dir="build/cython", language_level=3))
