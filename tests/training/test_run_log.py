"""The trainer's own log: kept as written, and never without end."""

from trainer.training.job.run_log import MAX_HEAD_BYTES, MAX_TAIL_BYTES, RunLog


def test_a_short_log_is_kept_whole() -> None:
    log = RunLog()

    handed_on = [log(None, "info", line) for line in ("one", "zwei ü", "three")]

    assert handed_on == ["one", "zwei ü", "three"]
    assert log.content().decode() == "one\nzwei ü\nthree\n"


def test_of_a_long_log_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() -> None:
    log = RunLog()
    lines = [f"line {number:06d} {'x' * 80}" for number in range(20_000)]

    for line in lines:
        log(None, "info", line)

    kept = log.content().decode().splitlines()
    assert len(log.content()) <= MAX_HEAD_BYTES + MAX_TAIL_BYTES + 100
    place = next(place for place, line in enumerate(kept) if line.startswith("..."))
    head, tail = kept[:place], kept[place + 1 :]
    assert head == lines[: len(head)]
    assert tail == lines[-len(tail) :]
    assert kept[place] == f"... {len(lines) - len(head) - len(tail)} lines left out ..."


def test_a_line_without_end_is_cut() -> None:
    log = RunLog()

    log(None, "info", "y" * 10 * MAX_HEAD_BYTES)

    assert len(log.content()) <= MAX_HEAD_BYTES
