"""A pipeline of four short stages, and the same after one `dvc repro`."""

import pytest

from tests.support.grid_project import make


@pytest.fixture(scope="session")
def serial(tmp_path_factory):
    """The project after one `dvc repro`."""
    project = make(tmp_path_factory.mktemp("serial"))
    project.run("dvc", "repro")
    return project


@pytest.fixture
def project(tmp_path):
    return make(tmp_path)
