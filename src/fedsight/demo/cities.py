"""Real cities, where the demo's clients are."""

from __future__ import annotations

import unicodedata

import msgspec


class City(msgspec.Struct, frozen=True):
    """A place on the map; `lat` and `lng` in degrees, north and east positive."""

    name: str
    country: str
    lat: float
    lng: float

    @property
    def slug(self) -> str:
        """The name in plain lower-case letters: "São Paulo" is "sao-paulo"."""
        plain = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode()
        return plain.lower().replace(" ", "-")


SERVER_CITY = City("Geneva", "Switzerland", 46.2044, 6.1432)

CITIES = (
    City("Nairobi", "Kenya", -1.2864, 36.8172),
    City("São Paulo", "Brazil", -23.5505, -46.6333),
    City("Seoul", "South Korea", 37.5665, 126.9780),
    City("Toronto", "Canada", 43.6532, -79.3832),
    City("Madrid", "Spain", 40.4168, -3.7038),
    City("Mumbai", "India", 19.0760, 72.8777),
    City("Sydney", "Australia", -33.8688, 151.2093),
    City("Cairo", "Egypt", 30.0444, 31.2357),
    City("Stockholm", "Sweden", 59.3293, 18.0686),
    City("Mexico City", "Mexico", 19.4326, -99.1332),
    City("Singapore", "Singapore", 1.3521, 103.8198),
    City("Boston", "United States", 42.3601, -71.0589),
    City("Warsaw", "Poland", 52.2297, 21.0122),
    City("Cape Town", "South Africa", -33.9249, 18.4241),
    City("Tokyo", "Japan", 35.6762, 139.6503),
    City("Buenos Aires", "Argentina", -34.6037, -58.3816),
    City("Istanbul", "Türkiye", 41.0082, 28.9784),
    City("Seattle", "United States", 47.6062, -122.3321),
    City("Lagos", "Nigeria", 6.5244, 3.3792),
    City("Heidelberg", "Germany", 49.3988, 8.6724),
    City("Auckland", "New Zealand", -36.8509, 174.7645),
    City("Lima", "Peru", -12.0464, -77.0428),
    City("Hanoi", "Vietnam", 21.0278, 105.8342),
    City("Lisbon", "Portugal", 38.7223, -9.1393),
    City("Chicago", "United States", 41.8781, -87.6298),
    City("Accra", "Ghana", 5.6037, -0.1870),
    City("Bengaluru", "India", 12.9716, 77.5946),
    City("Oslo", "Norway", 59.9139, 10.7522),
    City("Santiago", "Chile", -33.4489, -70.6693),
    City("Taipei", "Taiwan", 25.0330, 121.5654),
    City("Montreal", "Canada", 45.5019, -73.5674),
    City("Athens", "Greece", 37.9838, 23.7275),
    City("Addis Ababa", "Ethiopia", 9.0250, 38.7469),
    City("Perth", "Australia", -31.9523, 115.8613),
    City("Dublin", "Ireland", 53.3498, -6.2603),
    City("Bogotá", "Colombia", 4.7110, -74.0721),
    City("Jakarta", "Indonesia", -6.2088, 106.8456),
    City("Vienna", "Austria", 48.2082, 16.3738),
    City("Houston", "United States", 29.7604, -95.3698),
    City("Casablanca", "Morocco", 33.5731, -7.5898),
    City("Helsinki", "Finland", 60.1699, 24.9384),
    City("Manila", "Philippines", 14.5995, 120.9842),
    City("Paris", "France", 48.8566, 2.3522),
    City("Tel Aviv", "Israel", 32.0853, 34.7818),
    City("Vancouver", "Canada", 49.2827, -123.1207),
    City("Dakar", "Senegal", 14.7167, -17.4677),
    City("Osaka", "Japan", 34.6937, 135.5023),
    City("Milan", "Italy", 45.4642, 9.1900),
)
