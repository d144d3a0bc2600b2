"""How ngshare is packaged. Settings of the tools are in ``pyproject.toml``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ngshare/__init__.py").read_text())[1]
# Where the package index shows it, what a relative link points to is not there.
readme = re.sub(
    r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", (here / "README.md").read_text(encoding="utf8")
)

postgres = ["psycopg[binary]>=3.2"]
bench = ["py-spy>=0.4"]
exchange = ["nbgrader>=0.9.5,<0.10", "requests>=2.31", "tqdm>=4.66"]
docs = ["sphinx>=7", "myst-parser>=3", "furo"]
test = [
    *exchange,
    *postgres,
    "build",
    "hypothesis",
    "kubernetes-validate",
    "mypy",
    "playwright",
    "pytest>=8",
    "pytest-tornado>=0.8.1",
    "pytest-xdist>=3.6",
    "pyyaml",
    "ruff",
    "setuptools<81",  # pytest-tornado asks for pkg_resources, which later ones lack
    "types-requests",
    "types-tqdm",
]

setup(
    name="ngshare",
    version=version,
    description="The exchange that lets nbgrader run on any JupyterHub",
    long_description=readme,
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["ngshare", "ngshare.*"]),
        # The migrations stand at the top of the repository, where Alembic's own
        # command looks for them, and travel inside the package.
        "ngshare._alembic",
        "ngshare._alembic.versions",
    ],
    package_dir={"ngshare._alembic": "alembic"},
    package_data={
        "ngshare": [
            "py.typed",
            "web/pages/static/*",
            "web/pages/templates/*",
            "exchange/server_extension/ngshare.json",
            "exchange/server_extension/templates/*",
        ],
        "ngshare._alembic": ["script.py.mako"],
    },
    # Jupyter servers of this environment load the extension, which fits nbgrader's tabs to ngshare.
    data_files=[
        (
            "etc/jupyter/jupyter_server_config.d",
            ["ngshare/exchange/server_extension/ngshare.json"],
        )
    ],
    install_requires=[
        "alembic>=1.14",
        "cryptography>=42",
        "jupyterhub>=5.0.0",
        "msgspec>=0.19",
        "multipart>=1.2",
        "prometheus_client>=0.20",
        "pybase64>=1.4",
        "sqlalchemy>=2.0.36",
        "tornado>=6.4.2",
        "traitlets>=5.14",
    ],
    extras_require={
        "exchange": exchange,
        "postgres": postgres,
        "docs": docs,
        "bench": bench,
        "test": test,
    },
    entry_points={
        "console_scripts": [
            "ngshare = ngshare.__main__:main",
            "ngshare-course-management = ngshare.exchange.commands.management:main",
            "vngshare = ngshare.app:main_standalone",
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Jupyter :: JupyterHub",
        "Intended Audience :: Education",
        "Intended Audience :: System Administrators",
        "Programming Language :: Python :: 3",
        "Topic :: Education",
        "Typing :: Typed",
    ],
)
