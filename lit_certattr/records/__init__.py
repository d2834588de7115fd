"""What a job leaves on disk: its directory, its table, its provenance."""

from lit_certattr.records.run_directory import Record, RunDirectory

__all__ = ["Record", "RunDirectory"]
