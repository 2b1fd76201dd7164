"""Package metadata. Tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "lib/spanlake/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

# delta-spark's helper builds the jar's version from its own, so wheel and jar move together;
# the 4.4.1 jars are not in every Maven repository yet.
SPARK = ["pyspark[sql]>=4.0.1,<=4.2.0", "delta-spark>=4.4.0,<4.4.1"]
# The default model on a CPU: no torch. OpenVINO's telemetry package is never imported by us.
CPU = ["openvino>=2025.3,<2027", "tokenizers>=0.21,<0.24"]
INFER = [
    "torch>=2.6,<2.16",
    "transformers>=5.16.1,<6",
    "tokenizers>=0.23.1,<0.24",
    "safetensors>=0.8",
]
TRAIN = [*INFER, *CPU, "accelerate>=1.10,<2"]
# Adapters, 4-bit weights and prompts of language models; energy needs nvidia-ml-py beside it.
LLAMA = [*TRAIN, "peft>=0.18,<1", "bitsandbytes>=0.48,<1", "jinja2>=3.1"]
NOTEBOOK = ["ipykernel>=6", "nbclient>=0.10", "matplotlib>=3.8"]
# What Spark Connect needs of a client, pyspark[connect].
CONNECT = [
    "grpcio>=1.76",
    "grpcio-status>=1.76",
    "googleapis-common-protos>=1.71",
    "zstandard>=0.25",
]
DEV = [
    *CONNECT,
    "build>=1.2",
    "hypothesis>=6.100",
    "import-linter>=2",
    "mypy>=1.11",
    "pandas-stubs>=2.2,<3",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    "types-PyYAML",
]

setup(
    name="spanlake",
    version=VERSION,
    description="Clinical notes to tables of entities and relations, on Spark and Delta Lake",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    package_data={
        "spanlake": [
            "labels/*.yml",
            "lexicon/*.yml",
            "models/llama/prompts/*.jinja",
            "samples/notes/*",
            "weights/*/*",
            "py.typed",
        ]
    },
    # No pyspark, delta-spark or torch here: on Databricks the cluster brings its own.
    install_requires=[
        "numpy>=1.26,<3",
        "pandas>=2.2.3,<3",
        "pyarrow>=18",
        "pydantic>=2.7",
        "PyYAML>=6",
    ],
    extras_require={
        "spark": SPARK,
        "cpu": CPU,
        "infer": INFER,
        "train": TRAIN,
        "llama": LLAMA,
        "notebook": NOTEBOOK,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["spanlake=spanlake.cli:main"]},
)
