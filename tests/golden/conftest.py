from pathlib import Path

import pytest

from tests.support.vectors import Golden

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`golden` runs over the files of the test's method: those whose description names it."""
    if "golden" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("golden_dir") or HERE)
        wanted = metafunc.function.__name__.removeprefix("test_")
        files = [path for path in sorted(folder.glob("*.json")) if Golden.method_of(path) == wanted]
        metafunc.parametrize("golden", files, ids=[path.stem for path in files], indirect=True)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """The folder must hold descriptions, and where all tests are collected each of them must be claimed by one."""
    given = [item.callspec.params["golden"] for item in items if "golden" in getattr(item, "fixturenames", ())]
    folder = Path(session.config.getoption("golden_dir") or HERE)
    files = set(folder.glob("*.json"))
    if given and not files:
        raise pytest.UsageError(f"{folder}: holds no golden file (*.json)")
    some = session.config.getoption("keyword") or any(".py" in word for word in session.config.args)
    unclaimed = files - {path for path in given if isinstance(path, Path)}
    left = sorted(path.name for path in unclaimed)
    if given and left and not some:
        raise pytest.UsageError(f"no test for the golden files {', '.join(left)}")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """The vectors of one file; afterwards every output in it must have been compared."""
    vectors = Golden(request.param)
    yield vectors
    vectors.assert_all_compared()
