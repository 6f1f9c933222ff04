import pytest

from pipeline.errors import ConfigError
from pipeline.planning.goal import Goal, Limit, read_goal
from pipeline.targets import get_target

ARM64 = get_target("arm64")


def test_a_goal_has_limits_and_a_drop():
    goal = read_goal("rpi4 instructions <= 1.5M, download<=40k ,size <= 100000, drop <= 0.5", ARM64)

    limits = (Limit("instructions", 1.5e6, "rpi4"), Limit("download", 40e3), Limit("size", 100e3))
    assert goal == Goal(limits, 0.5)


def test_a_goal_names_the_limits_that_are_missed():
    goal = read_goal("rpi5 instructions <= 2M, size <= 10k", ARM64)

    assert goal.missed({"rpi5 instructions": 2_000_000, "size": 10_001}) == goal.limits[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("faster", "'faster' is not a limit; write \"DEVICE instructions <= 1.5M\""),
        ("", "'' is not a limit"),
        ("download < 40k", "'download < 40k' is not a limit"),
        ("rpi6 instructions <= 1M", "'rpi6' is no device of arm64; did you mean 'rpi5'"),
        ("instructions <= 1M", "write rpi4 instructions <= 1M"),
        ("rpi4 download <= 1M", "write download <= 1M"),
        ("rpi4 latency <= 1M", "unknown figure 'latency'"),
        ("size <= 0", "the limit has to be above 0"),
        ("size <= 1k, size <= 2k", "'size' has two limits; give one"),
    ],
)
def test_a_bad_goal_is_one_line(text, message):
    with pytest.raises(ConfigError) as caught:
        read_goal(text, ARM64)

    assert message in str(caught.value)
