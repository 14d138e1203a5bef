from ndlambda.space.shuffle import mixed, shuffled


def test_mixing_is_the_published_one():
    """The first values of SplitMix64 with seed 0 (Steele, Lea and Flood 2014)."""
    gamma = 0x9E3779B97F4A7C15
    values = [mixed(step * gamma % 2**64) for step in range(3)]
    assert values == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_neighbours_are_visited_far_from_each_other():
    """Each tenth of the visits is spread over all tenths of the numbers, whatever came first."""
    numbers = range(5000, 6000)
    order = shuffled(numbers)
    assert sorted(order) == list(numbers)
    assert order == shuffled(reversed(numbers))
    for start in range(0, 1000, 100):
        places = [(number - 5000) // 100 for number in order[start : start + 100]]
        assert set(places) == set(range(10))
        assert max(map(places.count, range(10))) < 25
