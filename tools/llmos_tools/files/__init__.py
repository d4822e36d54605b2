"""The tools `read_file`, `write_file` and `list_files`: the workspace of a process."""

from llmos_tools.files.files import list_files, read_file, write_file

__all__ = ["list_files", "read_file", "write_file"]
