from pathlib import Path

import pytest

from tests.golden.vectors import Golden

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`golden` runs over the files of the test's method: those whose description names it."""
    if "golden" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("golden_dir", default=None) or HERE)
        wanted = metafunc.function.__name__.removeprefix("test_")
        files = [path for path in sorted(folder.glob("*.json")) if Golden.method_of(path) == wanted]
        metafunc.parametrize("golden", files, ids=[path.stem for path in files], indirect=True)


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """The vectors of one file; afterwards every output in it must have been compared."""
    vectors = Golden(request.param)
    yield vectors
    vectors.assert_all_compared()
