import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cure.core.noise import seed_for
from cure.data.loader import Loader, Split, as_float, pad
from cure.errors import UserError
from cure.settings.base import Augment


def split(n: int = 23, channels: int = 3, height: int = 6, width: int = 5) -> Split:
    """Random images; each image's label is its place."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (n, channels, height, width), dtype=torch.uint8, generator=draws)
    return Split(images, torch.arange(n))


def loader(n: int = 23, batch: int = 8, crop: int = 0, flip: bool = False, seed: int = 0) -> Loader:
    return Loader(split(n), batch, Augment(padding="zero", crop=crop, flip=flip), seed)


def whole(loader: Loader, epoch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """One epoch, joined."""
    x, y, index = zip(*loader.epoch(epoch), strict=True)
    return torch.cat(x), torch.cat(y), torch.cat(index)


class TestEpoch:
    @pytest.mark.parametrize("n", [2, 8, 9, 23, 24])
    def test_every_image_comes_once(self, n: int) -> None:
        _, y, index = whole(loader(n))
        assert sorted(index.tolist()) == list(range(n))
        assert torch.equal(y, index)

    @pytest.mark.parametrize(
        ("n", "sizes"), [(23, [8, 8, 7]), (24, [8, 8, 8]), (3, [3]), (18, [8, 8, 2]), (17, [8, 9]), (9, [9])]
    )
    def test_the_last_batch_is_what_is_left(self, n: int, sizes: list[int]) -> None:
        batches = loader(n)
        assert [len(y) for _, y, _ in batches.epoch(1)] == sizes
        assert len(batches) == len(sizes)
        assert [batches.images(i) for i in range(len(sizes))] == sizes

    @pytest.mark.parametrize(("n", "sizes"), [(20, [8, 8, 4]), (19, [8, 11])])
    def test_a_rest_has_two_images_for_each_rank(self, monkeypatch, n: int, sizes: list[int]) -> None:
        monkeypatch.setattr("cure.runtime.distributed.count", lambda: 2)
        assert [loader(n).images(i) for i in range(len(loader(n)))] == sizes

    @pytest.mark.reliability("wrong inputs")
    @pytest.mark.parametrize(("n", "batch", "ranks"), [(1, 8, 1), (23, 1, 1), (23, 3, 2)])
    def test_a_batch_of_which_there_is_no_variance_is_refused(
        self, monkeypatch, n: int, batch: int, ranks: int
    ) -> None:
        monkeypatch.setattr("cure.runtime.distributed.count", lambda: ranks)
        with pytest.raises(
            UserError, match=f"^batch: {batch} of {n} training images; batch norm needs at least {2 * ranks}"
        ):
            loader(n, batch)

    def test_without_augmentation_images_are_as_they_are(self) -> None:
        x, _, index = whole(loader())
        assert torch.equal(x, split().images[index].float() / 255)

    def test_images_and_labels_arrive_as_floats_in_the_unit_interval(self) -> None:
        x, y, _ = next(iter(loader(crop=2, flip=True).epoch(1)))
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert 0 <= x.min() <= x.max() <= 1

    @pytest.mark.parametrize(("crop", "flip"), [(0, False), (2, True)])
    def test_an_epoch_is_a_function_of_seed_and_number_alone(self, crop: int, flip: bool) -> None:
        wanted = whole(loader(crop=crop, flip=flip), 5)
        other = loader(crop=crop, flip=flip)
        for epoch in (1, 2, 9):
            whole(other, epoch)
        torch.rand(7)
        assert all(torch.equal(a, b) for a, b in zip(whole(other, 5), wanted, strict=True))

    def test_epochs_and_seeds_differ_in_order_and_crops(self) -> None:
        runs = [whole(loader(crop=2, seed=seed), epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
        assert len({tuple(index.tolist()) for _, _, index in runs}) == 3
        back = [x[index.argsort()] for x, _, index in runs]
        assert not torch.equal(back[0], back[1])

    def test_neither_order_nor_crops_depend_on_the_batch_size(self) -> None:
        runs = [whole(loader(batch=batch, crop=2, flip=True)) for batch in (4, 23)]
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))

    def test_the_global_generator_is_left_alone(self) -> None:
        state = torch.get_rng_state()
        whole(loader(crop=2, flip=True))
        assert torch.equal(torch.get_rng_state(), state)


class TestAugment:
    def drawn(self, crop: int, n: int = 23) -> tuple[Tensor, Tensor, Tensor]:
        """The order, offsets and flips of epoch 1 of seed 0, drawn once more."""
        draws = torch.Generator().manual_seed(seed_for(0, 1, "batches"))
        order = torch.randperm(n, generator=draws)
        offsets = torch.randint(2 * crop + 1, (2, n), generator=draws)
        return order, offsets, torch.rand(n, generator=draws) < 0.5

    @pytest.mark.parametrize("crop", [0, 1, 2, 4])
    @pytest.mark.parametrize("flip", [False, True])
    def test_images_equal_manual_crops_and_flips(self, crop: int, flip: bool) -> None:
        x, _, index = whole(loader(crop=crop, flip=flip))
        order, (down, right), flips = self.drawn(crop)
        assert torch.equal(index, order)
        padded = F.pad(split().images, [crop] * 4)
        for image, i in zip(x, index.tolist(), strict=True):
            top, left = int(down[i]), int(right[i])
            wanted = padded[i, :, top : top + 6, left : left + 5].float() / 255
            assert torch.equal(image, wanted.flip(2) if flip and flips[i] else wanted)

    @pytest.mark.parametrize("crop", [1, 3, 4])
    def test_a_reflected_border_is_numpys(self, crop: int) -> None:
        images = split().images
        wanted = np.pad(images.numpy(), ((0, 0), (0, 0), (crop, crop), (crop, crop)), mode="reflect")
        found = pad(images, Augment(padding="reflect", crop=crop, flip=False))
        assert torch.equal(found, torch.from_numpy(wanted))

    def test_more_than_there_is_to_mirror_is_refused(self) -> None:
        with pytest.raises(
            UserError, match=r"augment\.crop: 5; padding: reflect has only 4 pixels to mirror; lower it"
        ):
            Loader(split(), 8, Augment(padding="reflect", crop=5, flip=False), 0)

    def test_padding_changes_borders_and_no_draw(self) -> None:
        zero, reflect = (
            whole(Loader(split(), 8, Augment(padding=p, crop=2, flip=True), 0)) for p in ("zero", "reflect")
        )
        assert torch.equal(zero[2], reflect[2])
        inside = zero[0] > 0
        assert torch.equal(zero[0][inside], reflect[0][inside])
        assert not torch.equal(zero[0], reflect[0])

    def test_every_offset_occurs_in_both_directions(self) -> None:
        images = torch.zeros(600, 1, 5, 5, dtype=torch.uint8)
        images[:, :, 2, 2] = 255  # after a crop, the white pixel says where the window was
        x, _, _ = whole(
            Loader(
                Split(images, torch.zeros(600, dtype=torch.int64)), 600, Augment(padding="zero", crop=2, flip=False), 0
            )
        )
        places = x.flatten(1).argmax(1)
        assert set(places.tolist()) == set(range(25))

    def test_about_half_of_the_images_are_flipped(self) -> None:
        images = torch.zeros(600, 1, 1, 2, dtype=torch.uint8)
        images[..., 0] = 255
        x, _, _ = whole(
            Loader(
                Split(images, torch.zeros(600, dtype=torch.int64)), 600, Augment(padding="zero", crop=0, flip=True), 0
            )
        )
        assert float(x[:, 0, 0, 1].mean()) == pytest.approx(0.5, abs=0.08)

    def test_the_split_itself_stays(self) -> None:
        data = split()
        whole(Loader(data, 8, Augment(padding="zero", crop=2, flip=True), 0))
        assert torch.equal(data.images, split().images)


class TestSplit:
    def test_all_eight_bit_values_become_exact_quotients(self) -> None:
        values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
        assert torch.equal(as_float(values), torch.arange(256.0).view(1, 1, 16, 16) / 255)

    @pytest.mark.parametrize("size", [1, 8, 23, 100])
    def test_batches_come_in_order_and_unchanged(self, size: int) -> None:
        x, y, index = (torch.cat(part) for part in zip(*split().batches(size), strict=True))
        assert torch.equal(index, torch.arange(23))
        assert torch.equal(y, torch.arange(23))
        assert torch.equal(x, split().images.float() / 255)

    @pytest.mark.parametrize(
        ("count", "places"),
        [(23, list(range(23))), (99, list(range(23))), (1, [0]), (4, [0, 5, 11, 17]), (22, list(range(22)))],
    )
    def test_spread_picks_evenly(self, count: int, places: list[int]) -> None:
        found = split().evenly_spaced(count)
        assert found.labels.tolist() == places
        assert torch.equal(found.images, split().images[places])
        assert len(found) == len(places)
