"""What all jobs do before their loop."""

from types import SimpleNamespace

import torch

from lit_certattr.callbacks.job_writer import JobWriter
from lit_certattr.records import RunDirectory


class Plain(JobWriter):
    """Writes nothing."""

    module = SimpleNamespace

    def open(self):
        self._directory.open(self.settings)

    def write(self, trainer, module, batch, outcomes):
        raise AssertionError("there is no loop")


def test_a_job_works_with_the_recorded_number_of_threads(tmp_path):
    """Lightning changes it for several processes, after the settings were recorded."""
    trainer = SimpleNamespace(is_global_zero=True, strategy=SimpleNamespace(launcher=None))
    module, before = SimpleNamespace(), torch.get_num_threads()
    writer = Plain(RunDirectory(tmp_path / "run"), ["a"], {"threads": before + 1})
    try:
        writer.setup(trainer, module, "predict")
        assert torch.get_num_threads() == before + 1
        assert module.skip_ids == frozenset()
    finally:
        torch.set_num_threads(before)
        writer.teardown(trainer, module, "predict")
