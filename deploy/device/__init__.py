"""What runs on a board: copied into every release as it is, and into no other program's way.

``FILES`` are the programs. There they import each other as files of one folder, here as modules of this
package; they import nothing else of this project.
"""

FILES = (
    "predict.py",
    "raw.py",
    "rows.py",
    "samples.py",
    "resizing.py",
    "observe.py",
    "totals.py",
    "summary.py",
    "decoding.py",
    "serving.py",
    "asking.py",
    "runner.py",
)
