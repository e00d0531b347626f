import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """More cost more than they gain at the size of most models here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
