"""Large, then compressed, against small: who meets whom."""

from benchmarks.studies.compression import contests


def point(bits, sparsity, size, linear):
    return {"bits": bits, "sparsity": sparsity, "bytes": size, "linear": linear}


def test_a_small_model_meets_larger_ones_of_no_more_bytes():
    done = {
        "16x1": {"points": [point(32, 0.0, 80, 0.9), point(8, 0.0, 20, 0.8)]},
        "32x1": {"points": [point(8, 0.0, 80, 0.99), point(3, 0.5, 20, 0.7), point(3, 0.75, 15, 0.85)]},
        "64x1": {"points": [point(8, 0.0, 320, 0.99), point(3, 0.9, 81, 0.95)]},
    }
    first, second = contests(done)
    assert first["light"]["bytes"] == 20 and first["rival"] == ("32x1", point(3, 0.75, 15, 0.85))
    assert second["rival"] is None
