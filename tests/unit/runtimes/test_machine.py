"""What is read of a machine, and what is not known of one that tells nothing."""

from __future__ import annotations

from pipeline.runtimes.machine import read_machine


def lay_out(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def test_a_machine_says_what_its_times_depend_on(tmp_path):
    lay_out(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast Core 3000\n",
            "proc/loadavg": "1.25 0.50 0.20 2/300 999\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
        },
    )

    found = read_machine(tmp_path)

    assert (found.cpu, found.governor, found.load_average) == ("Fast Core 3000", "powersave", 1.25)
    assert found.temperature_c == 48.312
    assert str(found).startswith("Fast Core 3000, ")
    assert "governor powersave, load 1.2, 48 degrees C" in str(found)


def test_an_arm_core_is_named_by_its_numbers(tmp_path):
    lay_out(tmp_path, {"proc/cpuinfo": "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"})

    assert read_machine(tmp_path).cpu.endswith("core 0x41:0xd0b")


def test_what_cannot_be_read_is_not_known(tmp_path):
    found = read_machine(tmp_path)

    assert (found.governor, found.load_average, found.temperature_c) == (None, None, None)
    assert "governor not known, load not known" in str(found)
