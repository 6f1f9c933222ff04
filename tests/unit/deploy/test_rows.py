"""Rows of numbers: by the names of their columns in any order, or by position."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from deploy.device import rows, samples

STEPS = {"resize": None, "indices": False}


def contract(*columns, shapes=None, indices=False):
    """A contract of inputs with these columns."""
    shapes = shapes or [(1, len(names)) for names in columns]
    return {
        "inputs": [
            {
                "name": f"input{place}",
                "shape": list(shape),
                "columns": list(names),
                "preprocessing": {**STEPS, "indices": indices},
            }
            for place, (names, shape) in enumerate(zip(columns, shapes, strict=True))
        ]
    }


HZ = contract(("hz", "rms", "on"))
OLD = {"inputs": [{"name": "x", "shape": [1, 3], "preprocessing": STEPS}]}  # before columns had names


def read(tmp_path, text, about, name="rows.csv"):
    (path := tmp_path / name).write_text(text, encoding="utf-8")
    return samples.read([str(path)], about)


@pytest.mark.parametrize(
    "text",
    [
        "hz,rms,on\n1,2.5,true\n-3,4,false\n",
        "\ufeffon,hz,rms\n1,1,2.5\n\n0,-3,4\n",
        "rms; on; hz\n2.5; TRUE; 1\n4; 0; -3\n",
        "1,2.5,1\n-3,4,0\n",
    ],
)
def test_columns_are_found_by_name_in_any_order_or_by_position_without_names(text, tmp_path):
    (found,) = read(tmp_path, text, HZ)

    assert found.dtype == np.float32
    assert found.tolist() == [[1, 2.5, 1], [-3, 4, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hz,rms\n1,2\n", "rows.csv: no column 'on'; the model takes hz, rms, on"),
        ("hz,RMS,on\n1,2,3\n", "rows.csv: no column 'rms', but 'RMS'; the model takes hz, rms, on"),
        ("kind,hz,rms,on\n1,2,3\n", "rows.csv: row 2 has 3 values, the first row 4"),
        ("hz,rms,on,hz\n1,2,3,4\n", "rows.csv: two columns are named 'hz'; the model takes hz, rms, on"),
        ("hz,rms,on\n1,2\n", "rows.csv: row 2 has 2 values, the first row 3"),
        ("1,2\n", "rows.csv: row 1 has 2 values, the model takes 3"),
        ("1,2,x\n", "rows.csv: row 1 has 'x'; write every value as a finite number"),
        ("1,2,3\n1,2,nan\n", "rows.csv: row 2 has 'nan'; write every value as a finite number"),
        ("1,2,1e999\n", "rows.csv: row 1 has '1e999'; write every value as a finite number"),
        ("hz,rms,on\n", "rows.csv: no rows of numbers"),
        ("", "rows.csv: no rows of numbers"),
    ],
)
def test_a_row_or_a_header_that_does_not_fit_is_one_line(text, said, tmp_path):
    with pytest.raises(ValueError, match=r"rows\.csv") as error:
        read(tmp_path, text, HZ)

    assert str(error.value).removeprefix(f"{tmp_path}/") == said


def test_other_columns_such_as_the_target_are_left_out(tmp_path):
    text = "id,hz,label,rms,on,id\n7,1,cat,2.5,true,8\n8,-3,,4,false,9\n"

    assert read(tmp_path, text, HZ)[0].tolist() == [[1, 2.5, 1], [-3, 4, 0]]


def test_a_row_of_numbers_with_the_names_of_numbered_columns_is_a_header(tmp_path):
    about = contract(("0", "1", "2"))

    assert read(tmp_path, "2,0,1\n7,8,9\n", about)[0].tolist() == [[8, 9, 7]]


def test_each_of_several_inputs_gets_its_own_columns_in_its_own_shape(tmp_path):
    about = contract(("a", "b", "c", "d"), ("e",), shapes=[(1, 2, 2), (1, 1)])

    first, second = read(tmp_path, "e,d,c,b,a\n5,4,3,2,1\n", about)

    assert first.tolist() == [[[1, 2], [3, 4]]]
    assert second.tolist() == [[5]]


def test_indices_are_whole_numbers(tmp_path):
    about = contract(("word", "next"), indices=True)

    (found,) = read(tmp_path, "next,word\n9,3\n", about)
    assert (found.dtype, found.tolist()) == (np.int64, [[3, 9]])
    with pytest.raises(ValueError, match=r"row 1 has '1\.5'; write every value as a whole number"):
        read(tmp_path, "1.5,2\n", about)


@pytest.mark.parametrize(
    "text", ['{"on": true, "hz": 1, "rms": 2.5}', '[{"on": 1, "hz": 1, "rms": 2.5}]', "1,2.5,1"]
)
def test_json_has_numbers_by_name(text, tmp_path):
    name = "rows.csv" if text[0] == "1" else "rows.json"

    assert read(tmp_path, text, HZ, name)[0].tolist() == [[1, 2.5, 1]]


def test_a_json_object_is_a_sample_itself():
    (found,) = samples.read(['{"on": 0, "hz": 1, "rms": 2.5}'], HZ)

    assert found.tolist() == [[1, 2.5, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"hz": 1}', "no column 'rms'; the model takes hz, rms, on"),
        ('{"hz": 1, "rms": null, "on": 0}', "has None; write every value as a finite number"),
        ('{"hz": 1, "rms": [1], "on": 0}', r"has \[1\]; write"),
        ('{"hz": 1, "rms": NaN, "on": 0}', "has nan; write"),
        ("[]", "give an object of numbers by name, or a list of them"),
        ("[1, 2, 3]", "give an object of numbers by name"),
        ("{", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
    ],
)
def test_json_that_is_no_sample_is_one_line(text, said, tmp_path):
    with pytest.raises(ValueError, match=said) as error:
        read(tmp_path, text, HZ, "rows.json")
    assert "\n" not in str(error.value)


def test_a_release_from_before_columns_had_names_skips_a_header_and_takes_positions(tmp_path):
    assert rows.names(OLD) == []
    assert read(tmp_path, "c,b,a\n1,2,3\n", OLD)[0].tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match="this release has no names of columns; give the numbers in order"):
        rows.by_name({"a": 1}, OLD)


def test_the_script_and_the_module_take_rows_by_name(sum_release, tmp_path, with_columns):
    release = with_columns(sum_release, tmp_path)
    row = {name: place for place, name in enumerate("hgfedcba")}

    said = subprocess.run(
        [sys.executable, release / "predict.py", json.dumps(row)], capture_output=True, text=True, check=True
    )
    program = (
        f"import predict, pathlib\nprint(predict.Model(pathlib.Path('.')).predict_row({row})[0].tolist())"
    )
    own = subprocess.run(
        [sys.executable, "-c", program], cwd=release, capture_output=True, text=True, check=True
    )

    assert said.stdout == "0  sum: 10 8 6 4\n"  # a + e, b + f, ...
    assert own.stdout == "[10.0, 8.0, 6.0, 4.0]\n"


def test_an_unknown_column_is_one_line_of_the_script(sum_release, tmp_path, with_columns):
    release = with_columns(sum_release, tmp_path)

    ran = subprocess.run(
        [sys.executable, release / "predict.py", '{"z": 1}'], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "predict.py: row: no column 'a', but 'z'; the model takes a, b, c, d, e, f, g, h"
    )
