"""What gateways are told of servers that stopped."""

from datetime import UTC, datetime, timedelta

from hub_service.hub import server_stops
from hub_service.hub.server_stops import ANNOTATION, Stop, read, text, with_new

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_is_written_is_read():
    stops = with_new([Stop("1", "ada", NOW)], Stop("2", 'zoë, "b"', NOW))
    assert read({ANNOTATION: text(stops)}) == {"1": "ada", "2": 'zoë, "b"'}


def test_old_news_is_left_out_and_there_is_an_end_to_it():
    old = [Stop(str(n), "ada", NOW) for n in range(300)]
    later = NOW + server_stops.KEPT_FOR - timedelta(seconds=1)
    assert len(with_new(old, Stop("new", "bob", later))) == 200
    assert with_new(old, Stop("new", "bob", later))[-1].id == "new"
    later += timedelta(seconds=1)
    assert [stop.id for stop in with_new(old, Stop("new", "bob", later))] == ["new"]


def test_what_cannot_be_read_is_nothing():
    for value in ("", "x", "[]", "3"):
        assert read({ANNOTATION: value}) == {}
    assert read({}) == {}
