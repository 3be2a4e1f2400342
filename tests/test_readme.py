import pytest

from normbench import parts, readme, tables


def test_speed_table_gives_the_ratios():
    seconds = {"study A": 60.0, "our network": 30.0, "ours": 5.0, "floor": 4.0}
    (row,) = tables.speed_table([{"nm": "GN", "seconds": seconds}]).splitlines()[2:]
    assert row == "| GN | 60.00 s | 30.00 s | 5.00 s | 4.00 s | **12.0** | 1.25 |"


def test_update_replaces_the_generated_part_alone():
    text = "before\n<!-- speed: generated -->\nold\n<!-- end of speed -->\nafter\n"
    updated = readme.update(text, "speed", "new")
    assert updated.startswith("before\n") and updated.endswith("\nafter\n")
    assert "new" in updated and "old" not in updated
    assert readme.update(updated, "speed", "new") == updated
    with pytest.raises(ValueError, match="no markers <!-- results"):
        readme.update(text, "results", "new")


def test_figures_without_the_data_sets_are_those_without_images(tmp_path, monkeypatch):
    def missing(*args):
        raise FileNotFoundError

    monkeypatch.setattr(readme, "load", missing)
    assert {name for name, _ in readme.figures()} == {"by_hand", *parts.FIGURES}


def test_write_renews_readme_and_figures(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(readme.README.read_text().replace("| BN |", "| old |"))
    figure = readme.plot_all_by_hand()
    monkeypatch.setattr(readme, "figures", lambda data_dir: [("one", figure)])
    monkeypatch.setattr(readme, "IMAGES", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    assert [path.name for path in readme.write()] == ["README.md", "one.png"]
    assert "| old |" not in (tmp_path / "README.md").read_text() and (tmp_path / "one.png").stat().st_size > 1000


def test_the_readme_says_what_the_published_runs_say():
    text = readme.README.read_text()
    assert readme.readme(text) == text, "run `python -m normbench report`"
