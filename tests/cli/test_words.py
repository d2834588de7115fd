"""One thing has one name on every command, and a switch needs no value on any of them."""

from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

import pytest
import yaml

from lit_certattr.cli.arguments import _kinds
from lit_certattr.cli.building import apply_short_options
from lit_certattr.cli.certify import COMMANDS, main
from lit_certattr.cli.certify_run import SHORT
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import RENAMED
from lit_certattr.errors import InputError

ROOT = Path(__file__).parents[2]
NEEDED = {
    "plan": ["--config=configs/certify/mnist5k.yaml"],
    "sigmas": ["--config=configs/certify/mnist5k.yaml"],
    "run": ["--config=configs/certify/mnist5k.yaml"],
    "evaluate": ["--config=configs/protocol/mnist5k.yaml"],
    "attack": ["somewhere"],
    "audit": ["somewhere"],
    "merge": ["somewhere", "--output=elsewhere"],
    "recertify": ["somewhere", "--output=elsewhere"],
    "compare": ["somewhere"],
    "modes": ["somewhere", "--output=modes.npy"],
    "covers": ["somewhere", "--image=one", "--changed=file"],
    "export": ["somewhere"],
    "status": ["somewhere"],
}

READING = {"compare", "covers", "export", "modes", "merge", "recertify", "status"}
"""Commands that read finished runs or pictures, and neither load a network nor draw noise."""


WRITING = {"plan", "sigmas", "run", "attack", "evaluate", "compare", "export", "modes", "merge", "recertify"}


def _parser(command):
    parser = OneLineParser(prog=command)
    parser.renamed = RENAMED
    COMMANDS[command].arguments(parser)
    return parser


def _options(command):
    """Every option of a command that has a type, by its name without dashes."""
    actions = _parser(command)._actions
    return {action.dest: action for action in actions if action.option_strings and hasattr(action, "_typehint")}


OPTIONS = {command: _options(command) for command in COMMANDS}
SWITCHES = [
    (command, name)
    for command, options in OPTIONS.items()
    for name, action in options.items()
    if bool in set(_kinds(action._typehint)) and set(_kinds(action._typehint)) <= {bool, NoneType}
]


def test_switches_are_found_on_every_command():
    assert {command for command, _ in SWITCHES} == set(COMMANDS)
    assert ("run", "overwrite") in SWITCHES
    assert ("run", "certifier.fold_batch_norm") in SWITCHES


@pytest.mark.parametrize(("command", "name"), SWITCHES, ids="-".join)
def test_a_switch_works_bare_and_with_a_value(command, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    parser = _parser(command)
    for typed, expected in (
        ([f"--{name}"], True),
        ([f"--{name}=true"], True),
        ([f"--{name}=false"], False),
        ([f"--{name}", "true"], True),
        ([f"--{name}", "false"], False),
    ):
        assert parser.parse_args([*NEEDED[command], *typed])[name] is expected, typed
        assert parser.parse_args([*typed, *NEEDED[command]])[name] is expected, "before the directory"


@pytest.mark.parametrize("option", ["--certifier.attribution.init_args.absolute", "--certifier.attribution.absolute"])
def test_a_switch_of_a_class_works_bare_too(option, monkeypatch, tmp_path):
    (tmp_path / "methods_with_a_switch.py").write_text(
        "from lit_certattr.attribution import Gradient\n\n\n"
        "class Mine(Gradient):\n"
        "    def __init__(self, absolute: bool = False, steps: int = 3) -> None:\n"
        "        super().__init__()\n"
        "        self.absolute, self.steps = absolute, steps\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(ROOT)
    method = "--certifier.attribution=methods_with_a_switch.Mine"
    parser = _parser("run")
    for typed, expected in (([option], True), ([f"{option}=true"], True), ([f"{option}=false"], False), ([], False)):
        config = parser.parse_args([*NEEDED["run"], method, *typed, "--overwrite"])
        assert config.certifier.attribution.init_args.absolute is expected
    with pytest.raises(ValueError, match="expected one argument"):
        parser.parse_args([*NEEDED["run"], method, option.replace("absolute", "steps")])


@pytest.mark.parametrize(("command", "option"), [("run", "--output"), ("run", "--seed"), ("attack", "--budgets")])
def test_an_option_that_is_no_switch_needs_its_value(command, option):
    with pytest.raises(ValueError, match="expected one argument"):
        _parser(command).parse_args([*NEEDED[command], option])


# --- one name -------------------------------------------------------------------------------------------------


def test_the_common_words_are_on_every_command_that_can_use_them():
    everywhere = {"ids", "max_images", "seed", "accelerator", "devices", "threads", "checkpoint"}
    for command, options in OPTIONS.items():
        assert command in READING or everywhere <= set(options), command
    for word, commands in {
        "num_samples": {"plan", "sigmas", "run", "attack", "audit"},  # an evaluation draws no noise
        "overwrite": WRITING,
        "output": WRITING,
    }.items():
        assert {command for command, options in OPTIONS.items() if word in options} == commands, word


def test_what_one_command_calls_by_a_short_name_no_other_hides_in_a_group():
    """``--devices`` here and ``--trainer.devices`` alone there would be two names for one thing."""
    short = {name for options in OPTIONS.values() for name in options if "." not in name}
    for command, options in OPTIONS.items():
        for name in options:
            word = name.rpartition(".")[2]
            if "." in name and word in short and word != "random_search":  # part of a protocol; a further search
                assert word in options, f"{command} has --{name} but no --{word}"


def test_one_name_has_one_type_and_one_help_has_one_name():
    types, helps = {}, {}
    for command, options in OPTIONS.items():
        for name, action in options.items():
            if "." in name:
                continue
            kinds = frozenset(map(str, _alternatives(action._typehint)))
            known = types.setdefault(name, (command, kinds))
            assert known[1] == kinds, f"--{name} of {command} and of {known[0]}"
            before = helps.setdefault(str(action.help), name)
            assert before == name, f"--{before} and --{name} say the same"


def _alternatives(hint):
    """The alternatives of a type, without ``None``: what an option may be, not whether it may be left out."""
    kinds = {kind for kind in _kinds(hint) if kind is not NoneType}
    return kinds if not any(get_origin(kind) is Literal for kind in kinds) else {get_args(kind) for kind in kinds}


@pytest.mark.parametrize("command", ["run", "attack", "audit"])
def test_an_old_name_is_one_line_that_names_the_new_one(command, capsys, tmp_path):
    for typed in (["--samples=3"], ["--samples", "3"]):
        with pytest.raises(SystemExit) as stopped:
            main([command, *NEEDED[command], *typed])
        assert stopped.value.code == 2
        assert capsys.readouterr().err == "certify.py: error: --samples is now called --num_samples\n"
    if command != "audit":  # which has no file of settings
        (tmp_path / "old.yaml").write_text("samples: 3\n")
        with pytest.raises(SystemExit) as stopped:
            main([command, *NEEDED[command], f"--config={tmp_path}/old.yaml"])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert "samples is now called num_samples" in error
        assert error.count("\n") == 1


def test_no_class_is_what_a_misspelt_option_meant(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--Sampl=3"])
    assert "did you mean" not in capsys.readouterr().err


def test_what_short_options_say_is_recorded_where_it_belongs(tmp_path, capsys):
    """The record of a run names each setting once, as before there were short options."""
    from lit_certattr.cli import certify_run
    from lit_certattr.cli.building import apply_short_options, as_text

    parser = _parser("run")
    typed = ["--data=lit_certattr.data.Digits", "--num_samples=7", "--seed=5", "--max_images=4", "--devices=2"]
    certifier = {
        "attribution": "lit_certattr.attribution.Gradient",
        "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.2}},
        "certificates": [{"class_path": "lit_certattr.certificates.PixelCertificate"}],
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"certifier": certifier}))
    config = parser.parse_args([f"--config={tmp_path}/base.yaml", *typed])
    apply_short_options(config, certify_run.SHORT)
    written = yaml.safe_load(as_text(config))
    assert written["certifier"]["num_samples"] == 7
    assert written["certifier"]["seed"] == 5
    assert written["data"]["init_args"]["max_images"] == 4
    assert written["trainer"]["devices"] == 2
    assert not {"num_samples", "seed", "max_images", "devices"} & written.keys()


def test_the_seed_of_an_evaluation_is_that_of_both_searches(monkeypatch):
    from lit_certattr.cli import certify_evaluate
    from lit_certattr.cli.building import apply_short_options

    monkeypatch.chdir(ROOT)
    config = _parser("evaluate").parse_args([*NEEDED["evaluate"], "--seed=5"])
    apply_short_options(config, certify_evaluate._SHORT)
    assert config.protocol.search.seed == config.protocol.prediction_search.seed == 5


def test_the_command_that_resumes_deletes_nothing():
    from lit_certattr.cli.certify import _again

    for typed in (["--overwrite"], ["--overwrite=true"], ["--overwrite", "true"]):
        for command in ("attack", "run"):
            config = _parser(command).parse_args([*NEEDED[command], *typed], _skip_validation=True)
            again = _again([*NEEDED[command], *typed], OneNamespace(command, config))
            assert [word for word in again if "overwrite" in word] == ["--overwrite=false"]
            assert again[:-1] == NEEDED[command]
            assert _parser(command).parse_args(again, _skip_validation=True).overwrite is False


class OneNamespace(dict):
    """What the outer parser gives: the command, and its configuration below its name."""

    def __init__(self, command, config):
        super().__init__({"command": command, f"{command}.overwrite": config.overwrite})


@pytest.mark.parametrize(("own", "panels"), [("max_panels: 3\n", 3), ("", 16)])
def test_a_file_of_layers_names_the_output_after_itself(tmp_path, own, panels):
    from lit_certattr.cli.building import name_output

    (tmp_path / "mine.yaml").write_text(f"layers: [{ROOT}/configs/certify/mnist5k.yaml]\n{own}")
    config = _parser("run").parse_args([f"--config={tmp_path}/mine.yaml"])
    config.output = None
    name_output(config, "runs/certify")
    assert config.output == "runs/certify/mine"
    assert (config.max_panels, config.certifier.num_samples) == (panels, 2000)


@pytest.mark.parametrize(
    ("command", "word", "reason"),
    [
        ("evaluate", "--num_samples=5", "--num_samples: evaluate draws no noisy samples; protocol.search.steps and"),
        ("audit", "--output=else", "--output: audit writes nothing"),
        ("audit", "--overwrite", "--overwrite: audit writes nothing"),
    ],
)
def test_a_word_that_a_command_cannot_have_is_refused_with_the_reason(command, word, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, *NEEDED[command], word])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def _with_short_options(*typed):
    config = _parser("run").parse_args(list(typed))
    apply_short_options(config, SHORT)
    return config


def test_images_replaces_the_folder_of_the_configuration(tmp_path):
    network = ["--network.name=resnet18", "--network.weights=mine.pth"]
    config = _with_short_options("--config=certify/torchvision.yaml", f"--images={tmp_path}", *network)
    assert config.data.init_args.root == str(tmp_path)
    assert "images" not in config
    assert config.network.init_args.name == "resnet18"
    assert config.certifier.num_samples == 400, "of torchvision.yaml, the rest of folder.yaml"
    assert len(config.certifier.certificates) == 2


def test_images_is_refused_where_the_data_have_no_folder():
    with pytest.raises(InputError, match=r"--images: lit_certattr\.data\.Photographs has no setting root"):
        _with_short_options("--config=certify/photographs.yaml", "--images=mine")
