import pytest
import torch
from torch.utils.data import DataLoader

from lit_certattr.data import SampleSet, collate
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.errors import InputError
from lit_certattr.records.provenance import data_hash


@pytest.fixture
def pixels():
    return torch.rand(3, 1, 4, 4)


@pytest.fixture
def samples(pixels):
    return UnchangedSamples(SampleSet(pixels, [0, 1, -1], ["a", "b", "c"]))


def test_the_same_samples_and_the_same_hash(pixels, samples):
    plain = SampleSet(pixels, [0, 1, -1], ["a", "b", "c"])
    assert data_hash(samples) == data_hash(plain)
    assert [sample.id for sample in samples.subset([2, 0])] == ["c", "a"]
    assert torch.equal(samples.subset([2, 0]).subset([1])[0].image, pixels[0])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_changes_after_the_hash_is_refused_in_every_subset_and_process(pixels, samples, num_workers):
    data_hash(samples)
    pixels[1, 0, 0, 0] = (pixels[1, 0, 0, 0] + 0.5) % 1
    assert samples[0].id == "a"
    with pytest.raises(InputError, match=r"^image b has changed since it was first read"):
        list(DataLoader(samples.subset([0, 1]), num_workers=num_workers, collate_fn=collate))


def test_another_process_accepts_only_what_the_first_one_has_read(pixels, samples):
    data_hash(samples)
    other = UnchangedSamples(SampleSet(pixels.clone(), [0, 1, -1], ["a", "b", "c"]))
    other.expect(samples.digests())
    assert other[0].id == "a"
    other._samples.images[1, 0, 0, 0] = (pixels[1, 0, 0, 0] + 0.5) % 1
    with pytest.raises(InputError, match="image b has changed"):
        other[1]
    late = UnchangedSamples(SampleSet(pixels.flip(0), [0, 1, -1], ["a", "b", "c"]))
    assert late[0].id == "a"
    with pytest.raises(InputError, match="image a has changed"):
        late.expect(samples.digests())
