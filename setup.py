from pathlib import Path

from setuptools import setup

REPORT = ["jinja2>=3.1", "matplotlib>=3.8"]
# Protocol buffers of TensorFlow Serving, which exporting needs.
SERVING = ["tensorflow-serving-api>=2.19"]
# model-signing imports pyOpenSSL without declaring it.
SIGNING = ["model-signing>=1.1", "pyOpenSSL>=24"]
GATEWAY = [
    *REPORT,
    *SERVING,
    *SIGNING,
    "fastapi>=0.115",
    "grpcio-health-checking>=1.60",
    "httptools>=0.6",  # parses requests for uvicorn
    "limits>=3.14",
    "orjson>=3.10",
    "prometheus-client>=0.20",
    "redis>=5",
    "structlog>=24",
    "tomli>=2; python_version < '3.11'",
    "uvicorn>=0.30",
]
AUDIT = [*REPORT, *SERVING, *SIGNING, "apache-beam>=2.70", "google-crc32c>=1.5"]
CLIENT = [*SERVING, "urllib3>=2"]
CLI = [*REPORT, *SERVING, *SIGNING, "click>=8.2", "rich>=13"]

setup(
    name="honeykeras",
    version="0.1.0",
    description="Turn a Keras classifier into a honeypot for adversaries",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # `export/` stands at the top level and is imported as `honeykeras.export`.
    package_dir={"honeykeras": "honeykeras", "honeykeras.export": "export"},
    packages=[
        "honeykeras",
        "honeykeras.attacks",
        "honeykeras.audit",
        "honeykeras.cli",
        "honeykeras.data",
        "honeykeras.detection",
        "honeykeras.evaluation",
        "honeykeras.evidence",
        "honeykeras.export",
        "honeykeras.gateway",
        "honeykeras.pipelines",
        "honeykeras.report",
        "honeykeras.sweep",
    ],
    package_data={
        "honeykeras": ["py.typed"],
        "honeykeras.audit": ["*.jinja"],
        "honeykeras.export": ["deploy/*"],
        "honeykeras.gateway": ["*.jinja"],
        "honeykeras.report": ["schema.json", "*.jinja"],
    },
    install_requires=[
        "cleverhans>=4.0",
        "cryptography>=42",
        "importlib_resources",  # tensorflow-datasets imports it without declaring it
        "jsonschema>=4.20",
        "keras>=3.12",
        "numpy>=1.26",
        "scikit-learn>=1.5",
        "scipy>=1.11",
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9.7",
        "threadpoolctl>=3.1",
        "tqdm>=4.66",
    ],
    extras_require={
        "audit": AUDIT,
        "cli": CLI,
        "client": CLIENT,
        "gateway": GATEWAY,
        "report": REPORT,
        "serving": SERVING,
        "signing": SIGNING,
        "telemetry": [
            "opentelemetry-distro>=0.48b0",
            "opentelemetry-exporter-otlp-proto-http>=1.27",
            "opentelemetry-instrumentation-fastapi>=0.48b0",
        ],
        "test": [
            *AUDIT,
            *CLI,
            *CLIENT,
            *GATEWAY,
            "check-jsonschema>=0.30",  # for the schema of compose files, which it ships
            "httpx>=0.27",
            "fakeredis[lua]>=2.26",
            "hypothesis>=6.100",
            "kubernetes-validate>=1.30",
            "pytest>=8",
            "pytest-xdist>=3.7",
            "pyyaml>=6",
            "schemathesis>=4",
            "tensorboard>=2.18",
        ],
    },
    entry_points={"console_scripts": ["honeykeras = honeykeras.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Security",
        "Typing :: Typed",
    ],
)
