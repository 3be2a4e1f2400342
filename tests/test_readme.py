import pytest

from normbench import readme


def test_speed_table_gives_the_ratios():
    seconds = {"study A": 60.0, "our network": 30.0, "ours": 5.0, "floor": 4.0}
    (row,) = readme.speed_table([{"nm": "GN", "seconds": seconds}]).splitlines()[2:]
    assert row == "| GN | 60.00 s | 30.00 s | 5.00 s | 4.00 s | **12.0** | 1.25 |"


def test_update_replaces_the_generated_part_alone():
    text = "before\n<!-- speed: generated -->\nold\n<!-- end of speed -->\nafter\n"
    updated = readme.update(text, "speed", "new")
    assert updated.startswith("before\n") and updated.endswith("\nafter\n")
    assert "new" in updated and "old" not in updated
    assert readme.update(updated, "speed", "new") == updated
    with pytest.raises(ValueError, match="no markers <!-- results"):
        readme.update(text, "results", "new")


def test_the_readme_says_what_the_published_runs_say():
    text = readme.README.read_text()
    assert readme.readme(text) == text, "run `python -m normbench report`"
