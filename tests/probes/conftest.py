import pytest

from support.fakes import FakeDevice, with_fake_kernels


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Offer a fake device, and stacks that are never built."""
    with_fake_kernels(monkeypatch)
    return FakeDevice()
