"""Files and folders of ours: written as a whole or not at all, with safe names, and known again."""

from fiftyone_revseg.files.whole import (
    check_writable,
    from_json,
    is_partial,
    locked,
    name_for_ffmpeg,
    read_files,
    remove_leftovers,
    replacing,
    replacing_folder,
    to_json,
    write_files,
    write_json,
    write_text,
)

__all__ = [
    "check_writable",
    "from_json",
    "is_partial",
    "locked",
    "name_for_ffmpeg",
    "read_files",
    "remove_leftovers",
    "replacing",
    "replacing_folder",
    "to_json",
    "write_files",
    "write_json",
    "write_text",
]
