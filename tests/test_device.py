import sys

import pytest
import torch

from normbench.device import choose_device, describe, device_name, is_out_of_memory, seeded


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ("tpu", "", "meta", "hpu", "cuda:99"))
def test_devices_that_cannot_be_used(name):
    with pytest.raises(ValueError) as error:
        choose_device(name)
    line = str(error.value)
    assert repr(name) in line and "auto" in line and "cpu" in line and "\n" not in line


@pytest.mark.parametrize("threads, words", ((1, "1 thread,"), (2, "2 threads,")))
def test_name_of_a_cpu(threads, words, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert words in device_name(torch.device("cpu"))


def test_the_way_to_a_gpu_is_told_in_colab_alone(monkeypatch):
    assert describe(torch.device("cpu")).count("\n") == 0
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert "GPU" in describe(torch.device("cpu")).splitlines()[1]


def test_lack_of_memory_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(2**60)
    assert is_out_of_memory(too_large.value) and is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as other:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(other.value)


def test_seeded_numbers_leave_no_trace():
    state = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(state, torch.random.get_rng_state())
