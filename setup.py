"""Builds the compiled part of fastbp: everything else is in pyproject.toml.

All of src_c is linked into one extension, `fastbp.engine.native`, so that the dispatch table exists once in a
process; `fastbp.kernels` reaches it through a cimport. Both use the limited API: one build serves CPython 3.11 and
every later one.
"""

import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tools"))
import generate_kernels  # noqa: E402
import op_list  # noqa: E402

CYTHON_DIR = "build/cython"
C_SOURCES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("src_c/*.c"))]
C_HEADERS = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("src_c/**/*.h"))]
WINDOWS = sys.platform == "win32"
OPTIMIZATION = [
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-unroll-loops",  # clang would unroll what is not worth it; the loops that are say so
]
# A call that does not fit its function is no mere warning.
STRICT = ["-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-Werror=implicit-function-declaration"]
# gnu11, where GCC fuses a * b + c; clang does as well, but only within one expression, so that bits are the same
# wherever a function is inlined: simd_types.h
FLAGS = [*STRICT, "-std=gnu11", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-g0", "-pthread",
         *OPTIMIZATION]
LINK_FLAGS = ["-pthread", "-Wl,-dead_strip" if sys.platform == "darwin" else "-Wl,--gc-sections"]
# What Cython writes runs once a call: small is better than unrolled and inlined.
GLUE_FLAGS = ["-Os", "-fno-inline-functions"]
if WINDOWS:  # clang-cl: Microsoft's options, and clang's own behind /clang:
    FLAGS = ["/std:c11", *("/clang:" + flag for flag in OPTIMIZATION)]
    GLUE_FLAGS = ["/clang:" + flag for flag in GLUE_FLAGS]
    LINK_FLAGS = []


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def extension(name: str, c_sources: list[str]) -> Extension:
    return Extension(
        name,
        [name.replace(".", "/") + ".pyx", *c_sources],
        include_dirs=["src_c"],
        depends=C_HEADERS,
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
    )


def check_compiler(command: str) -> None:
    """Say what to install where there is no C compiler, or where it would not find Python's headers."""
    wanted = {"darwin": "xcode-select --install"}.get(
        sys.platform, "apt install gcc python3-dev (Debian, Ubuntu), dnf install gcc python3-devel (Fedora), or "
        "conda install -c conda-forge c-compiler")
    if shutil.which(command) is None:
        raise SystemExit(f"fastbp: there is no C compiler ({command}), and this platform has no wheel. Install one, "
                         f"with {wanted}, or name yours in the environment variable CC")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.is_file():
        raise SystemExit(f"fastbp: Python's headers are missing ({headers}). Install them, with {wanted}")


class ParallelBuild(build_ext):
    """Compiles extensions, and the sources of each, side by side, and leaves a copy of the result in the source tree.

    The copy is for `python -m fastbp` in the checkout, where Python finds this folder's package before the installed.
    """

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = True

    def build_extensions(self) -> None:
        if WINDOWS:
            self.compiler.initialize()
            self.compiler.cc = shutil.which("clang-cl")
            if self.compiler.cc is None:
                raise SystemExit("fastbp: clang-cl is not on the PATH; the C code needs it on Windows (install LLVM)")
        else:
            check_compiler(self.compiler.compiler_so[0])
        compile_one = self.compiler.compile

        def compile_source(source: str, flags: list[str], options: dict[str, object]) -> list[str]:
            glue = GLUE_FLAGS if Path(source).as_posix().startswith(CYTHON_DIR) else []
            return compile_one([source], extra_postargs=[*flags, *glue], **options)

        def compile_all(sources: list[str], extra_postargs: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor() as pool:
                objects = pool.map(lambda source: compile_source(source, extra_postargs, options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()

    def run(self) -> None:
        super().run()
        if not self.inplace:
            for ext in self.extensions:
                built = Path(self.get_ext_fullpath(ext.name))
                shutil.copy2(built, ROOT.joinpath(*ext.name.split(".")).parent / built.name)


class BuildWithPublicName(build_py):
    """Adds what "from fastbp.kernels cimport …" finds, where it is installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            write_if_changed(Path(self.build_lib, "fastbp", "kernels.pxd"), "from fastbp.engine.kernels cimport *\n")


GENERATED = ROOT / "build" / "generated" / "kernels.pxi"
write_if_changed(GENERATED, generate_kernels.pxi(op_list.read()))

setup(
    ext_modules=cythonize(
        [extension("fastbp.engine.native", C_SOURCES), extension("fastbp.engine.kernels", [])],
        build_dir=CYTHON_DIR,
        include_path=[str(GENERATED.parent)],
        language_level=3,
        compiler_directives={"boundscheck": False, "wraparound": False, "cdivision": True, "embedsignature": True},
    ),
    cmdclass={"build_ext": ParallelBuild, "build_py": BuildWithPublicName},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
