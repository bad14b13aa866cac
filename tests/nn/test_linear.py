"""The product by oneDNN is torch's own, forward and backward, whatever the number of rows."""

import pytest
import torch

from multiseq.nn import linear
from multiseq.nn.encoder import Encoder
from multiseq.vectors import VectorSets, order_of

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch was built without oneDNN"
)


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN for every number of rows, on any processor."""
    monkeypatch.setattr(linear, "_is_faster", lambda: True)
    monkeypatch.setattr(linear, "_FEWEST_ROWS", 1)


@needs_onednn
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("rows", [1, 7, 301])
@pytest.mark.parametrize(("wide", "narrow"), [(24, 13), (13, 24), (11, 11)])
def test_it_is_torchs_product(rows: int, wide: int, narrow: int) -> None:
    ours = linear.Linear(wide, narrow)
    theirs = torch.nn.Linear(wide, narrow, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x, grad = torch.randn(rows, wide), torch.randn(rows, narrow)
    results = []
    for layer in (ours, theirs):
        own = x.clone().requires_grad_()
        out = layer(own)
        out.backward(grad)
        results.append((out, own.grad, layer.weight.grad))
    assert type(results[0][0].grad_fn).__name__ == "_ProductBackward"
    torch.testing.assert_close(*results)


@needs_onednn
def test_few_rows_are_served_where_they_recur(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_is_faster", lambda: True)
    layer, x = linear.Linear(13, 24, bias=True), torch.randn(5, 13)
    with linear.recurring_rows():
        recurring = layer(x)
    assert recurring.grad_fn.next_functions[0][0].name() == "_ProductBackward"
    assert layer(x).grad_fn.name() == "AddmmBackward0"
    torch.testing.assert_close(recurring, layer(x))


@needs_onednn
@pytest.mark.usefixtures("onednn")
def test_filled_up_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [3, 150, 0, 41, 7]
    torch.manual_seed(0)
    model = Encoder(dim=24, depth=2, heads=3, dropout=0.0)
    values, grad = torch.randn(sum(lengths), 24), torch.randn(sum(lengths), 24)
    results = []
    for target in (256, sum(lengths)):
        monkeypatch.setattr("multiseq.nn.order.padded_rows", lambda rows, target=target: target)
        own = values.clone().requires_grad_()
        model.zero_grad()
        out = model(VectorSets(own, lengths, order_of(lengths))).values
        out.backward(grad)
        results.append([out, own.grad, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


def test_few_numbers_of_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_is_faster", lambda: True)
    found = {rows: linear.padded_rows(rows) for rows in range(3000)}
    assert all(rows <= n <= rows * 33 // 32 + 16 for rows, n in found.items())
    assert len({n for rows, n in found.items() if 1024 <= rows < 2048}) == 33
    assert found[255] == 255


def test_torchs_own_product_where_onednn_is_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_is_faster", lambda: False)
    assert linear.padded_rows(1001) == 1001
    out = linear.Linear(5, 3)(torch.randn(300, 5))
    assert type(out.grad_fn).__name__ != "_ProductBackward"
