import pytest
import torch

from cure.core.noise import PerImage, Stream, seed_for

CPU = torch.device("cpu")
X = torch.zeros(6, 3, 4, 4)


def draw(noise, kind: str, x: torch.Tensor = X) -> torch.Tensor:
    return noise.uniform(x, 0.5) if kind == "uniform" else noise.normal(x, 0.5)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
class TestDraws:
    @pytest.mark.parametrize("rows", [[0], [5, 2], [3, 4, 0, 1, 2, 5]])
    def test_an_image_draws_the_same_in_any_batch_and_order(self, kind: str, rows: list[int]) -> None:
        whole = draw(PerImage(7, torch.arange(6)), kind)
        assert torch.equal(draw(PerImage(7, torch.tensor(rows)), kind, X[rows]), whole[rows])

    def test_an_image_goes_on_drawing_from_its_own_generator(self, kind: str) -> None:
        whole, part = PerImage(7, torch.arange(6)), PerImage(7, torch.tensor([4]))
        first, second = draw(whole, kind), draw(whole, kind)
        assert not torch.equal(first, second)
        draw(part, kind, X[:1])
        assert torch.equal(draw(part, kind, X[:1]), second[4:5])

    def test_images_and_seeds_differ(self, kind: str) -> None:
        rows = torch.cat([draw(PerImage(seed, torch.arange(6)), kind) for seed in (7, 8)])
        assert len({tuple(row.flatten().tolist()) for row in rows}) == 12

    def test_a_stream_is_a_function_of_its_seed(self, kind: str) -> None:
        a, b, other = Stream(3, CPU), Stream(3, CPU), Stream(4, CPU)
        first = draw(a, kind)
        assert torch.equal(first, draw(b, kind))
        assert not torch.equal(first, draw(other, kind))
        assert not torch.equal(first, draw(a, kind))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_draws_have_shape_and_type_of_the_images(self, kind: str, dtype: torch.dtype) -> None:
        for noise in (Stream(0, CPU), PerImage(0, torch.arange(6))):
            found = draw(noise, kind, X.to(dtype))
            assert (found.shape, found.dtype) == (X.shape, dtype)

    def test_no_global_generator_is_touched(self, kind: str) -> None:
        state = torch.get_rng_state()
        for noise in (Stream(0, CPU), PerImage(0, torch.arange(6))):
            draw(noise, kind)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("noise", [Stream(0, CPU), PerImage(0, torch.arange(200))], ids=["stream", "per image"])
def test_moments(noise) -> None:
    x = torch.zeros(200, 1, 16, 16)
    flat, bell = noise.uniform(x, 0.3), noise.normal(x, 0.3)
    assert flat.abs().max() <= 0.3
    assert flat.std() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    assert bell.std() == pytest.approx(0.3, rel=0.02)
    assert abs(float(flat.mean())) < 0.005
    assert abs(float(bell.mean())) < 0.01


def test_widths_may_differ_per_pixel() -> None:
    width = torch.zeros(6, 1, 4, 4)
    width[:, :, 2:] = 1
    for noise in (Stream(0, CPU), PerImage(0, torch.arange(6))):
        found = noise.uniform(X, width)
        assert found[:, :, :2].abs().max() == 0
        assert found[:, :, 2:].abs().min() > 0


def test_chance_is_certain_at_the_ends() -> None:
    noise = Stream(0, CPU)
    assert not any(noise.chance(0.0) for _ in range(100))
    assert all(noise.chance(1.0) for _ in range(100))


def test_chance_comes_true_at_its_rate_and_repeats_with_the_seed() -> None:
    noise, again = Stream(0, CPU), Stream(0, CPU)
    drawn = [noise.chance(0.2) for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(0.2, abs=0.03)
    assert drawn == [again.chance(0.2) for _ in range(4000)]


def test_chance_leaves_the_draws_for_images_alone() -> None:
    noise, other = Stream(0, CPU), Stream(0, CPU)
    noise.chance(0.5)
    assert torch.equal(noise.normal(X, 1.0), other.normal(X, 1.0))


def test_evaluation_refuses_to_decide_about_a_batch() -> None:
    with pytest.raises(TypeError, match="per image"):
        PerImage(0, torch.arange(2)).chance(0.5)


def test_seeds_are_known_distinct_and_fit_a_signed_integer() -> None:
    found = [seed_for(a, b, what) for a in range(10) for b in range(10) for what in ("noise", "batches")]
    assert len(set(found)) == 200
    assert all(0 <= seed < 2**63 for seed in found)
    assert seed_for(0, 1, "noise") == 967521566771698767  # a change would silently change every published number


@pytest.mark.parametrize("rows", [[0], [5, 2], [3, 4, 0, 1, 2, 5]])
def test_counts_and_free_draws_belong_to_the_image(rows: list[int]) -> None:
    rate = torch.full((6, 3, 4, 4), 20.0)
    whole, part = PerImage(7, torch.arange(6)), PerImage(7, torch.tensor(rows))
    assert torch.equal(part.poisson(rate[rows]), whole.poisson(rate)[rows])
    draw = [noise.each(lambda g: torch.randint(0, 1000, (2, 5), generator=g)) for noise in (whole, part)]
    assert draw[0].shape == (6, 2, 5)
    assert torch.equal(draw[1], draw[0][rows])


def test_counts_have_the_mean_and_variance_of_their_rate() -> None:
    found = PerImage(0, torch.arange(100)).poisson(torch.full((100, 1, 16, 16), 30.0))
    assert torch.equal(found, found.round())
    assert float(found.mean()) == pytest.approx(30, rel=0.01)
    assert float(found.var()) == pytest.approx(30, rel=0.05)
