"""`prices`: quotes of invented companies, keyed by ticker.

Each price is a geometric random walk in continuous time: the step's size follows from the ticker's yearly volatility
and the seconds since its last tick, so busy and sleepy tickers both move as they should. Volatility itself wanders
(calm and nervous spells), and now and then news makes a price jump.
"""

from collections.abc import Iterator
from math import exp, log, sqrt
from random import Random

import msgspec

from tailrace.demo.event import Event, rfc3339

TICKS_PER_SECOND = 40.0
YEAR_SECONDS = 252 * 6.5 * 3600  # of trading: what a yearly volatility is spread over
MOOD_SECONDS = 90.0  # how long a nervous spell lasts
MOOD_SPREAD = 0.45  # of the logarithm of volatility: two thirds of the time within a factor of 1.6
NEWS_PER_SECOND = 1 / 900

# ticker -> (price, yearly volatility, share of the ticks)
TICKERS = {
    "HYDR": (184.20, 0.24, 10),
    "WEIR": (62.75, 0.31, 7),
    "TRBN": (311.40, 0.28, 9),
    "FLUM": (27.18, 0.52, 6),
    "PNST": (95.60, 0.35, 6),
    "SLUC": (14.92, 0.61, 4),
    "DELT": (128.05, 0.22, 5),
    "ESTU": (48.33, 0.40, 4),
    "GLCR": (219.90, 0.26, 5),
    "TIDE": (73.14, 0.47, 6),
    "BRKR": (36.81, 0.44, 3),
    "KELP": (9.87, 0.72, 3),
    "MNGR": (55.02, 0.38, 3),
    "AQFR": (402.66, 0.20, 4),
    "RVNE": (18.45, 0.57, 2),
    "CNAL": (83.77, 0.29, 3),
}
VENUES = (b"XTRW", b"XNOR", b"XBAY")


class Quote(msgspec.Struct):
    """The value of a record, as it is written to the topic."""

    symbol: str
    last: float
    bid: float
    ask: float
    size: int
    volume: int
    change_pct: float
    at: str


class Ticker:
    """One company's walk. `mood` is the logarithm of how nervous the market is about it now; 0 is as usual."""

    def __init__(self, symbol: str, price: float, volatility: float, now: float) -> None:
        self.symbol = symbol
        self.price = self.opened = price
        self.volatility = volatility
        self.mood = 0.0
        self.volume = 0
        self.moved_at = now

    def move(self, rng: Random, now: float) -> None:
        """Walk from the last tick to `now`."""
        elapsed, self.moved_at = now - self.moved_at, now
        kept = exp(-elapsed / MOOD_SECONDS)
        self.mood = self.mood * kept + rng.gauss(0.0, MOOD_SPREAD * sqrt(1.0 - kept * kept))
        sigma = self.volatility * exp(self.mood) * sqrt(elapsed / YEAR_SECONDS)
        step = rng.gauss(-sigma * sigma / 2.0, sigma)
        if rng.random() < NEWS_PER_SECOND * elapsed:
            step += rng.choice((-1.0, 1.0)) * rng.uniform(0.002, 0.009)
            self.mood += log(2.0)
        self.price *= exp(step)

    def quote(self, rng: Random, now: float) -> Quote:
        """Trade once at today's price: the quote around it, in cents."""
        size = 100 * rng.choices((1, 2, 3, 5, 10, 25), (50, 20, 10, 10, 8, 2))[0]
        if rng.random() < 0.2:  # odd lots
            size = rng.randrange(1, 100)
        self.volume += size
        half_spread = max(0.01, self.price * 1e-4 * exp(self.mood)) / 2.0
        bid = round(self.price - half_spread, 2)
        ask = max(round(self.price + half_spread, 2), round(bid + 0.01, 2))
        change_pct = round(100.0 * (self.price / self.opened - 1.0), 2) + 0.0  # never -0.0
        return Quote(self.symbol, rng.choice((bid, ask)), bid, ask, size, self.volume, change_pct, rfc3339(now))


def prices(seed: int, start: float) -> Iterator[Event]:
    """Yield quotes for ever; `start` is epoch seconds."""
    rng = Random(f"prices {seed}")
    tickers = [Ticker(symbol, price, volatility, start) for symbol, (price, volatility, _) in TICKERS.items()]
    shares = [share for _, _, share in TICKERS.values()]
    now = start
    while True:
        delay = rng.expovariate(TICKS_PER_SECOND)
        now += delay
        ticker = rng.choices(tickers, shares)[0]
        ticker.move(rng, now)
        value = msgspec.json.encode(ticker.quote(rng, now))
        yield Event("prices", ticker.symbol.encode(), value, (("venue", rng.choice(VENUES)),), delay)
