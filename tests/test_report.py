"""Pages from templates: their numbers, and the conclusions that must hold."""

import re
from dataclasses import replace

import pytest
from conftest import write_results

from model import NORMALIZATIONS, Net
from normbench import report
from normbench.claims import claims
from normbench.experiments import EXPERIMENTS
from normbench.report import BrokenConclusion, Numbers, page

TEMPLATES = [str(path.relative_to(report.TEMPLATES)) for path in report.TEMPLATES.rglob("*.md")]
MADE = [name for name in TEMPLATES if name != "tables.md"]


@pytest.fixture(scope="session")
def scenarios(tmp_path_factory):
    """Folders of made-up results: nothing differs; all normalizations differ; batch norm is behind, and odd."""

    def ranked(config):
        order = ("none", "IN", "LN", "GN", "BN")
        lost = 2.0 if config.ghost == 2 else 0.0
        return 90.0 + order.index(config.nm) + config.gp / 10 + 2e4 * config.l1 - lost

    def behind(config):
        return 70.0 + dict(GN=2, BN=1).get(config.nm, 0)

    folder = tmp_path_factory.mktemp("scenarios")
    write_results(folder / "same", lambda config: 98.0, deviation=0.2, zeros=lambda config: 90.0 * config.proximal)
    write_results(folder / "ranked", ranked, deviation=0.01, zeros=5.0)
    write_results(
        folder / "behind",
        behind,
        deviation=lambda config: 0.001 if config.nm == "BN" else 0.1,
        train_loss=lambda config: 1.0 if config.l1 else 0.02,
        best=99.0,
        lag=0.1,
    )
    for name, ours in (("speed", '"ours": '), ("gpu", '"recorded": ')):
        path = folder / "behind" / f"{name}.jsonl"
        path.write_text(path.read_text().replace(ours, ours + "1"))  # ten times as slow, or more
    search = (folder / "behind" / "search.jsonl").read_text()
    search = re.sub(r'"(accuracy|mirrored|shifted)": [\d.]+', r'"\1": 80.0', search)
    (folder / "behind" / "search.jsonl").write_text(search)  # nothing that was tried made a difference
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", report.PAGES)
def test_pages_say_what_the_results_say(name):
    assert (report.PROJECT / name).read_text() == page(name), "make them anew: python -m normbench report"


def test_every_conclusion_can_break(scenarios):
    """A condition that holds whatever the results are guards nothing."""
    judged = {}
    for folder in scenarios.values():
        for name in MADE:
            numbers = Numbers(folder)
            report._environment(numbers).get_template(name).render()
            for i, (template, holds) in enumerate(numbers.judged):
                judged.setdefault((name, i, template), []).append(holds)
    vacuous = [key for key, outcomes in judged.items() if all(outcomes)]
    assert judged and not vacuous


def test_a_broken_conclusion_is_named_and_nothing_is_written(scenarios, tmp_path, monkeypatch):
    with pytest.raises(BrokenConclusion, match=r"answer\.md: - \*\*On CIFAR-10 each of BN, GN and LN is worth"):
        page("answer.md", scenarios["behind"])
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    monkeypatch.setattr(report, "page", lambda name: page(name, scenarios["behind"]))
    with pytest.raises(BrokenConclusion):
        list(report.write())
    assert not list(tmp_path.iterdir())


def test_numbers_of_pages_come_from_the_results(scenarios):
    numbers = Numbers(scenarios["ranked"])
    text = report._environment(numbers).get_template("docs/results.md").render()
    for name in ("rates", "head_to_head", "ghosts", "penalties", "luck"):
        assert EXPERIMENTS[name].question in text
    for arm in numbers.arms("head_to_head"):
        assert f"| {arm.label} | **{arm.accuracy.mean:.3f}** |" in text
    for claim in claims(scenarios["ranked"]).values():
        assert f"{claim.says} | **{claim.verdict}**" in text
    differing = numbers.differing("head_to_head", "BN", "GN", "LN")
    assert [(a.label, b.label) for a, b, _ in differing] == [("BN", "GN"), ("BN", "LN"), ("GN", "LN")]
    assert numbers.widest("head_to_head", "BN", "GN", "LN")[:2] == ("BN", "LN")
    assert not numbers.all_same("head_to_head", "BN", "GN")
    assert numbers.winners("head_to_head", "BN", "GN") == pytest.approx({"BN": 1.0, "GN": 0.0})


def test_pairs_say_how_sure_they_are_and_what_would_make_them_surer(scenarios):
    def rows(scenario):
        numbers = Numbers(scenarios[scenario])
        tables = report._environment(numbers).get_template("tables.md").make_module({"numbers": numbers})
        table = tables.pairs_table("cifar10", numbers.pairs("cifar10", "BN", "GN", "none"))
        return [[cell.strip() for cell in row.split("|")] for row in table.splitlines() if " − " in row]

    assert [(row[1], *row[4:6]) for row in rows("ranked")] == [
        ("BN − GN", "100 %", "enough"),
        ("BN − none", "100 %", "enough"),
        ("GN − none", "100 %", "enough"),
    ]
    unsure = [row[5] for row in rows("same")]
    assert len(unsure) == 3 and all(seeds.startswith(("about ", "only more")) for seeds in unsure)


def test_an_unfinished_experiment_says_so(scenarios, tmp_path):
    lines = (scenarios["same"] / "head_to_head.jsonl").read_text().splitlines(keepends=True)
    arms = len(EXPERIMENTS["head_to_head"].plan()) // 24
    (tmp_path / "head_to_head.jsonl").write_text("".join(lines[: 5 * arms + 3]))
    assert Numbers(tmp_path).seeds("head_to_head") == "5 of 24 planned"
    assert Numbers(scenarios["same"]).seeds("head_to_head") == "24"

    def trained(folder):
        return report._environment(Numbers(folder)).get_template("tables.md").module.trained("head_to_head").strip()

    assert trained(tmp_path).endswith(" an epoch. So far 5 of 24 planned seeds.")
    assert trained(scenarios["same"]).endswith(" an epoch.")


def test_the_readme_is_one_page():
    assert len((report.PROJECT / "README.md").read_text().split()) <= 1500


def test_results_table_reports_the_last_epoch_and_names_the_best(three):
    row = report.results_table(three).splitlines()[2]
    cells = [cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in row.strip("|").split("|")]
    assert cells == ["BN + L1", "**98.00 %**", "4 of 200", "0.1250", "99.00 % (epoch 2)", "97.50 %", "7,000", "4"]
    text = report.results_table(three)
    for fact in ("selected on the test set", "3 epochs", "one run each", "on CPU", "1.3 s an epoch", "12 s in all"):
        assert fact in text


def test_conditions_tell_where_devices_are_mixed(scenarios):
    (first, *_) = Numbers(scenarios["same"]).arms("luck")
    assert "; CPU; " in report.conditions([first])
    other = replace(first.runs[0], device="GPU")
    assert "; 1 on GPU, 99 on CPU; " in report.conditions([replace(first, runs=(other, *first.runs[1:]))])


def test_conditions_name_a_single_seed(scenarios):
    (arm, *_) = Numbers(scenarios["same"]).arms("luck")
    assert ", seeds 100 to 199; " in report.conditions([arm])
    assert ", seed 100; " in report.conditions([replace(arm, runs=arm.runs[:1])])


def test_parameters_table_counts():
    rows = report.parameters_table().splitlines()[2:]
    widths = sum(layer.out_channels for layer in Net().features if hasattr(layer, "out_channels"))
    elements = 8 * 12**2 + 8 * 12**2 + 3 * 16 * 6**2
    for nm, row in zip(NORMALIZATIONS, rows, strict=True):
        _, name, trainable, kept, total, _ = (cell.strip() for cell in row.split("|"))
        assert name == nm
        assert int(trainable.replace(",", "")) == {"none": 0, "LN_CHW": 2 * elements}.get(nm, 2 * widths)
        assert kept == (str(2 * widths) if nm == "BN" else "–")
        assert int(total.replace(",", "")) == sum(p.numel() for p in Net(nm).parameters())
