import io

from dipper.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_a_line_is_written_per_tenth():
    out = io.StringIO()
    progress = Progress("run", 100, out, clock=lambda: 0.0)
    for done in range(101):
        progress.update(done)
    assert out.getvalue().count("\n") == 11


def test_a_terminal_sees_one_line_that_is_rewritten():
    out = Terminal()
    times = iter([0.0, 10.0])
    progress = Progress("run", 4, out, clock=lambda: next(times))
    progress.update(1, "minute 1")
    progress.finish()
    assert out.getvalue().count("\n") == 1
    assert "25% minute 1 (10 s, about 30 s left)" in out.getvalue()
