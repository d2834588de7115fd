"""Both remedies are trained by `train.py` on the images that are named, with configurations that exist."""

from pathlib import Path

from benchmarks import fine_tuned


def test_both_are_trained_on_the_same_images(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(fine_tuned.train, "main", calls.append)
    fine_tuned.main([str(tmp_path)])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["denoiser", "fine-tuning"]
    for call in calls:
        assert sum(argument.endswith(f"root={tmp_path}") for argument in call) == 1
        configs = [argument.removeprefix("--config=") for argument in call if argument.startswith("--config=")]
        assert configs
        assert all(Path(config).is_file() for config in configs)
