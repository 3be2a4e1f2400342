import pytest

from normbench.training.progress import epochs_bar


@pytest.mark.parametrize("done", (0, 2))
def test_the_bar_counts_the_epochs_that_are_left(done, capsys):
    assert list(epochs_bar(3, "BN", done=done)) == [1, 2, 3][done:]
    said = capsys.readouterr()
    assert "BN" in said.err and "3/3 epochs" in said.err and not said.out


def test_a_bar_that_is_not_enabled_counts_and_shows_nothing(capsys):
    assert list(epochs_bar(3, "BN", enabled=False, done=1)) == [2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_notebook_gets_one_output_that_is_updated(monkeypatch, capsys):
    """Not a stream of carriage returns, each of which would be saved with the notebook."""
    IPython = pytest.importorskip("IPython")
    display = pytest.importorskip("IPython.display")
    shown, updated = [], []

    class Handle:
        def update(self, data, raw):
            updated.append(data["text/plain"])

    def show(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": None})())
    monkeypatch.setattr(display, "display", show)
    assert list(epochs_bar(3, "BN")) == [1, 2, 3]
    assert len(shown) == 1 and "3/3 epochs" in updated[-1]
    assert not any("\r" in text or "\n" in text for text in shown + updated)
    assert capsys.readouterr().err == ""
