"""The file tools: the workspace of a process."""

from llmos_tools.files.finding import find_text, list_files
from llmos_tools.files.reading import read_file
from llmos_tools.files.writing import edit_file, restore_file, write_file

__all__ = ["edit_file", "find_text", "list_files", "read_file", "restore_file", "write_file"]
