from fedsight.demo.cities import CITIES, SERVER_CITY


def test_there_are_enough_cities_each_with_an_id_of_its_own():
    assert len(CITIES) >= 40
    assert len({city.slug for city in (*CITIES, SERVER_CITY)}) == len(CITIES) + 1


def test_every_city_is_on_the_globe_and_the_first_twenty_are_all_over_it():
    assert all(-90 <= city.lat <= 90 and -180 <= city.lng <= 180 for city in CITIES)
    first = CITIES[:20]
    for hemisphere in (
        [c for c in first if c.lat < 0],
        [c for c in first if c.lat > 0],
        [c for c in first if c.lng < -30],
        [c for c in first if c.lng > 60],
    ):
        assert len(hemisphere) >= 4


def test_slugs_are_plain_ascii():
    assert next(city for city in CITIES if city.name == "São Paulo").slug == "sao-paulo"
    assert all(city.slug.isascii() and city.slug == city.slug.lower() for city in CITIES)
