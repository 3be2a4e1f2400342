"""docs/normbench.md, CONTRIBUTING.md and examples/: what they show is true for the code."""

import importlib
import inspect
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import ROOT
from PIL import Image

import normbench
import normbench.layers

GUIDE = (ROOT / "docs/normbench.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of 200 small images in three classes, each of a colour of its own."""
    folder = tmp_path_factory.mktemp("project") / "photos"
    pixels = np.random.default_rng(0).integers(0, 120, (201, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        image[..., i % 3] += 100
        file = folder / ["cat", "dog", "owl"][i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


@pytest.fixture
def project(photos, monkeypatch):
    """The working folder of somebody with a folder of photographs and one of data sets."""
    monkeypatch.chdir(photos.parent)
    (photos.parent / "data").mkdir(exist_ok=True)
    monkeypatch.setenv("DATA_DIR", "data")
    return photos.parent


def test_the_guide_s_python_runs(project, capsys):
    told = {}
    for block in blocks(GUIDE, "python"):
        exec(compile(block, "docs/normbench.md", "exec"), told)
    assert str(told["found"]) in capsys.readouterr().out
    assert 9 <= len(told["table"]) <= 15 and set(told["table"].norm) == {"BN", "GN", "none"}
    assert "</html>" in (project / "report.html").read_text(encoding="utf-8")
    assert len(list(project.glob("*.png"))) == len(told["found"].figures())
    assert set(told["mine"].results[0].labels.values()) == {"BN", "mine", "mine, no γ"}
    assert {hazard.name for hazard in told["found_here"].hazards} == {"weight decay"}


def first_columns(text):
    """What a page's tables have in their first column, as code."""
    return {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall("`(.+?)`", line.split("|")[1])
    }


def test_the_guide_s_table_has_every_normalization_and_only_what_there_is():
    from normbench.comparison.own import TAKEN
    from normbench.layers import NORMALIZATIONS, OWN, parse
    from normbench.training import OPTIMIZERS

    assert first_columns(GUIDE) >= set(TAKEN)
    named = first_columns(GUIDE) - {"!!", "!", "-", *OPTIMIZERS, *TAKEN}
    assert {*NORMALIZATIONS, OWN} <= named
    for norm in named:
        parse(norm)


def test_the_guide_s_table_of_optimizers_is_that_of_the_code():
    from normbench.training import OPTIMIZERS

    table = GUIDE.partition("| optimizer |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = {line.split("`")[1]: line for line in table}
    assert rows.keys() == OPTIMIZERS.keys()
    for name, row in OPTIMIZERS.items():
        *_, rates, decay, rising, _ = (part.strip() for part in rows[name].split("|"))
        assert tuple(map(float, rates.split())) == row.rates and float(decay) == row.weight_decay
        assert rising == f"{100 * row.rising:g} % of the steps"


def test_what_the_guide_shows_of_check_is_what_it_says():
    """But for times, which differ from machine to machine."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        net = importlib.import_module("resnet8").build()
    finally:
        sys.path.remove(str(ROOT / "examples"))
    page = str(normbench.check(net, torch.randn(4, 3, 32, 32), price=False))
    shown = next(block for block in blocks(GUIDE, "console") if "check examples/resnet8.py" in block)
    said, hazards = page.split("Hazards, worst first")
    assert hazards.strip() in shown
    for line in said.splitlines():
        assert re.sub(r"\s*[\d.]+ %$", "", line) in shown


def test_what_the_guide_says_of_hazards_is_all_that_there_is():
    from normbench.checking.hazards import RULES

    marks = re.findall(r"^\| `(!!|!|-)` \|", GUIDE, re.MULTILINE)
    assert len(marks) == len(RULES) and marks == sorted(marks, key=["!!", "!", "-"].index)


def headings(text):
    """The anchors that a page on GitHub has."""
    return {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", [GUIDE, CONTRIBUTING], ids=["guide", "contributing"])
def test_links_lead_somewhere(page):
    for place, anchor in re.findall(r"\]\(((?!https?:)[^)#]*)(?:#([^)]+))?\)", page):
        if place:
            assert (ROOT / ("docs" if page is GUIDE else ".") / place).exists()
        elif anchor:
            assert anchor in headings(page)


def test_the_guide_s_reference_has_exactly_what_the_library_exports():
    reference = GUIDE.partition("\n## Reference\n")[2]
    assert sorted(re.findall(r"^### (\S+)$", reference.replace("\\", ""), re.MULTILINE)) == sorted(normbench.__all__)


def sections():
    """The text of the reference by name."""
    parts = re.split(r"^### (\S+)$", GUIDE.partition("\n## Reference\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


FUNCTIONS = [name for name in normbench.__all__ if inspect.isfunction(getattr(normbench, name))]


@pytest.mark.parametrize("name", [*FUNCTIONS, "Dataset", "Recipe", "Samples"])
def test_the_guide_s_signatures_are_those_of_the_code(name):
    shown = {}
    header = blocks(sections()[name], "text")[0].partition("->")[0].strip()
    exec(f"def {header}: ...", shown)
    given, real = (inspect.signature(function).parameters for function in (shown[name], getattr(normbench, name)))
    assert list(given) == list(real)
    for parameter in real.values():
        assert (given[parameter.name].kind, given[parameter.name].default) == (parameter.kind, parameter.default)


@pytest.mark.parametrize("name", ["Check", "Comparison", "Run", "Arm"])
def test_the_guide_s_attributes_exist(name):
    kind = getattr(normbench, name)
    shown = re.findall(r"(\w+)(?:\(.*?\))?(?=,|$)", blocks(sections()[name], "text")[0].partition(":")[2].strip())
    known = {*dir(kind), *inspect.signature(kind).parameters}
    assert shown and set(shown) <= known


def test_the_guide_s_commands_have_options_that_exist(capsys, monkeypatch):
    from normbench import commands

    for command in ("compare", "check", "decide"):
        monkeypatch.setattr(sys, "argv", ["normbench", command, "--help"])
        with pytest.raises(SystemExit):
            commands.main()
    offered = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    of_the_tool = re.sub(r"`python -m study[^`]*`", "", GUIDE)
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", of_the_tool)) - {"--help", "--version"}
    assert shown and shown <= offered


def edits(text):
    """(file, hunk) of each change that is shown as a diff; a hunk is a list of lines with their first letters."""
    for block in blocks(text, "diff"):
        assert block.startswith("+++ ")
        for part in re.split(r"^\+\+\+ ", block, flags=re.MULTILINE)[1:]:
            file, *lines = part.splitlines()
            for hunk in "\n".join(lines).split("\n@@\n"):
                yield file, hunk.splitlines()


def changed(file):
    """A file's text with the changes that CONTRIBUTING.md shows."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name, hunk in edits(CONTRIBUTING):
        if name == file:
            before = "".join(line[1:] + "\n" for line in hunk if not line.startswith("+"))
            after = "".join(line[1:] + "\n" for line in hunk if not line.startswith("-"))
            assert text.count(before) == 1, f"{file} has not once: {before}"
            text = text.replace(before, after)
    return text


NEW_LAYER = "normbench/layers/table.py"  # imports what a change of another file adds


@pytest.mark.parametrize("file", sorted({file for file, _ in edits(CONTRIBUTING)} - {NEW_LAYER}))
def test_the_changes_that_contributing_shows_fit_the_code(file):
    executed(file, changed(file))


def executed(file, text):
    """What a file of this text defines."""
    module = type(sys)(f"changed {file}")
    module.__file__ = str(ROOT / file)
    sys.modules[module.__name__] = module  # where dataclasses look for types
    try:
        exec(compile(text, file, "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
    return module


def test_the_optimizer_that_contributing_shows_makes_a_loss_smaller():
    changed_table = executed("normbench/training/optimizers.py", changed("normbench/training/optimizers.py"))
    (new,) = changed_table.OPTIMIZERS.keys() - normbench.training.OPTIMIZERS.keys()
    net, x = torch.nn.Linear(4, 1), torch.randn(32, 4)
    row, losses = changed_table.OPTIMIZERS[new], []
    optimizers = changed_table.Optimizers(new, net, row.rates[-1], row.weight_decay, 50)
    for _ in range(50):
        losses.append(net(x).square().mean())
        net.zero_grad()
        losses[-1].backward()
        optimizers.step(optimizers.next_rate())
    assert losses[-1] < 0.9 * losses[0]


def test_the_normalization_that_contributing_shows_works(monkeypatch):
    channels = executed("normbench/layers/channels.py", changed("normbench/layers/channels.py"))
    monkeypatch.setitem(sys.modules, "normbench.layers.channels", channels)
    table = executed(NEW_LAYER, changed(NEW_LAYER))
    (new,) = table.NORMALIZATIONS.keys() - normbench.layers.NORMALIZATIONS.keys()
    x = torch.randn(2, 6, 4, 5)
    for last in (False, True):
        made = table.make(new, table.Place(6, last, 4))
        y = made(x.movedim(1, -1) if last else x)
        torch.testing.assert_close(y.square().mean(dim=-1 if last else 1), torch.ones(2, 4, 5))
    assert len({row.colour for row in table.NORMALIZATIONS.values()}) == len(table.NORMALIZATIONS)


@pytest.mark.parametrize("path", re.findall(r"`((?:normbench|study)/[\w./]*)`", CONTRIBUTING))
def test_contributing_names_what_exists(path):
    assert (ROOT / path).exists()


NETWORKS = ("resnet8", "resnet20", "depthwise", "vit")


@pytest.fixture
def example(monkeypatch):
    """Imports an example by its name, as if it were started."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield importlib.import_module
    for name in ("resnet8", "photographs", "reading", "segmentation", *NETWORKS):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_examples_have_as_many_parameters_as_they_say(name, example):
    module = example(name)
    net = module.build()
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    (said,) = re.findall(r"([\d,]+),000 parameters", module.__doc__)
    thousands = sum(p.numel() for p in net.parameters()) / 1000
    assert thousands == pytest.approx(int(said), abs=0.5 if int(said) % 10 else 5)
    size = {"size": (28, 28)} if name == "vit" else {}
    assert module.build(5, 1, **size)(torch.zeros(2, 1, 28, 28)).shape == (2, 5)


def without_times(said):
    """The answer, but for the sentence on how long a training step takes, which is measured anew."""
    return re.sub(r"Of these, [^.]* trains fastest: .*? takes [\d.,]+\. ?", "", said.partition("\n\n")[2])


def test_the_example_on_photographs_answers_and_resumes(example, project, capsys, monkeypatch):
    example("photographs").main("photos", size=8, epochs=1, seeds=2, batch_size=64)
    answered = without_times(capsys.readouterr().out)
    page = (project / "runs/photographs/report.html").read_text(encoding="utf-8")
    assert "report.html" in answered and "<html" in page
    finished = (project / "runs/photographs/runs.jsonl").read_bytes()
    monkeypatch.setattr(normbench.Comparison, "page", lambda found: "")  # which takes seconds
    example("photographs").main("photos", size=8, epochs=1, seeds=2, batch_size=64)
    assert without_times(capsys.readouterr().out) == answered
    assert (project / "runs/photographs/runs.jsonl").read_bytes() == finished


def test_the_example_on_reading_tells_each_arm_and_each_pair(example, project, few_digits, capsys, monkeypatch):
    small = replace(few_digits, x_train=few_digits.x_train[..., ::3, ::3], x_test=few_digits.x_test[..., ::3, ::3])
    monkeypatch.setattr(normbench, "load", lambda name: small)
    found, compare = [], normbench.compare
    monkeypatch.setattr(
        normbench, "compare", lambda *given, **named: found.append(compare(*given, **named)) or found[0]
    )
    example("reading").main(seeds=2, epochs=1, folder=project / "runs/reading")
    said = capsys.readouterr().out
    assert said.count(" % (2 runs") == 3
    assert said.count("ahead of") == len(found[0].results[0].leads), "each pair of arms that learned"
    assert (project / "runs/reading/figure_1.png").stat().st_size and (project / "runs/reading/runs.csv").exists()


@pytest.mark.parametrize("channels", (1, 3))
def test_the_example_network_takes_images_of_any_size(example, channels):
    net = example("resnet8").build(7, channels)
    assert net(torch.zeros(2, channels, 32, 32)).shape == (2, 7)
    assert sum(p.numel() for p in example("resnet8").build().parameters()) == pytest.approx(78_000, rel=0.01)


def test_the_example_on_segmentation_learns_and_tells_the_splits_apart(example):
    module = example("segmentation")
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    net = module.UNet()
    dice = module.train(net, lr=0.01, seed=0)["dice"]
    assert dice.shape == (60,) and 0.5 < dice.mean() < 1
    first, other = (module.discs(3, seed)[1] for seed in (1, 2))
    assert not torch.equal(first, other) and 0.02 < first.mean() < 0.4
