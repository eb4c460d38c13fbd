from pathlib import Path

import pytest

from tests.golden.vectors import Golden

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`golden` runs over the files of the test's method: those whose description names it."""
    if "golden" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("golden_dir") or HERE)
        wanted = metafunc.function.__name__.removeprefix("test_")
        files = [path for path in sorted(folder.glob("*.json")) if Golden.method_of(path) == wanted]
        metafunc.parametrize("golden", files, ids=[path.stem for path in files], indirect=True)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Every description in the folder must be claimed by a test."""
    given = [item.callspec.params["golden"] for item in items if "golden" in getattr(item, "fixturenames", ())]
    chosen = {path for path in given if isinstance(path, Path)}  # a test whose method has no file here is skipped
    folders = {path.parent for path in chosen}
    left = [path.name for folder in folders for path in folder.glob("*.json") if path not in chosen]
    if left and not session.config.getoption("keyword"):
        raise pytest.UsageError(f"no test for the golden files {', '.join(sorted(left))}")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """The vectors of one file; afterwards every output in it must have been compared."""
    vectors = Golden(request.param)
    yield vectors
    vectors.assert_all_compared()
