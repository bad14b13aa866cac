"""Whether the kernels for GPUs can run at all."""

from __future__ import annotations

import pytest
import torch

from multiseq.nn import _kernels


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton works here")
def test_a_triton_that_does_not_work_is_told_once_and_not_used() -> None:
    """As on a machine without a C compiler; here there is no GPU."""
    pytest.importorskip("triton")
    _kernels.has_triton.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton does not work here \(.+\), .* install a C compiler"):
        assert not _kernels.has_triton()
    assert not _kernels.has_triton()


def test_a_tensor_of_the_host_has_none() -> None:
    assert _kernels.kernels_for(torch.zeros(2, 2)) is None
